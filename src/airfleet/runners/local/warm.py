"""Run a command of Airflow as a fork of the image of the platform that is up on this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract.fork_protocol import COMMANDS, GREETING, SIGNALS

# Seconds to wait for the image. If it hangs, or the machine is busier, Airflow starts in a new process.
GREETED_S = 5.0
# Commands that give the terminal to a program which needs full control of it. They always start in a new process.
INTERACTIVE = (("db", "shell"),)


def run(folder: StateFolder, arguments: Sequence[str], environment: Mapping[str, str]) -> int | None:
    """Run the command and return its exit code, or None if no image accepted it. Then the command has not started."""
    words = tuple(word for word in arguments if not word.startswith("-"))[:2]
    path = folder.root / "airflow" / COMMANDS
    if words in INTERACTIVE or not path.exists() or not folder.is_held():
        return None
    order = {
        "argv": ["airflow", *arguments],
        "env": dict(environment),
        "cwd": os.getcwd(),  # noqa: PTH109 - it goes over the wire as text
        "umask": _read_umask(),
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        channel.settimeout(GREETED_S)
        try:
            channel.connect(str(path))
            if channel.recv(64) != GREETING:
                return None
            # After an error up to this line, the command was not sent, so it has not started.
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            message = json.dumps(order).encode("utf-8", "surrogateescape")
            socket.send_fds(channel, [message], [0, 1, 2])
        except TimeoutError:
            said = f"the platform's image has not answered for {GREETED_S:.0f} s, so Airflow starts without it"
            print(f"airfleet: {said}; `airfleet status` shows whether it hangs", file=sys.stderr)
            return None
        except (OSError, ValueError):
            return None
        return _follow(channel)


def _follow(channel: socket.socket) -> int:
    channel.settimeout(None)
    with _passing_on(channel):
        told = b""
        with suppress(ConnectionError):
            told = channel.recv(4096)
    if not told:
        print("airfleet: the platform's warm process ended, and the command with it", file=sys.stderr)
        return 1
    return int(json.loads(told)["code"])


@contextmanager
def _passing_on(channel: socket.socket) -> Iterator[None]:
    def send(number: int, _: object) -> None:
        with suppress(OSError):
            channel.send(str(number).encode())

    before = {one: signal.signal(one, send) for one in SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
