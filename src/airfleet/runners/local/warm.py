"""A command of Airflow from the warm process of the platform that is up here; without one, nothing was begun."""

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

# A machine that is so busy starts Airflow anew.
GREETED_S = 10.0
# They hand the terminal to a program that wants to own it.
INTERACTIVE = (("db", "shell"),)


def run(folder: StateFolder, arguments: Sequence[str], environment: Mapping[str, str]) -> int | None:
    """Its exit code; None when it has to be started in another way, as nobody has taken the order."""
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
            # Whatever ends with an error here was not sent, and so not begun.
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            message = json.dumps(order).encode("utf-8", "surrogateescape")
            socket.send_fds(channel, [message], [0, 1, 2])
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
