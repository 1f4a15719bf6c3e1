"""Runs Airflow's command line in forks of a process that has imported Airflow: one process for each command.

A client of the same user connects to a Unix socket and receives a greeting. The client then sends one order with its
three standard streams. It may send numbers of signals, and receives the exit code. No code of the command runs before
the order is complete. If the client ends, or the process that attends it, the command receives SIGHUP. The command has
no controlling terminal, so the client passes signals from the keyboard on.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from setproctitle import setproctitle

from airfleet_provider.contract.fork_protocol import COMMANDS, GREETING, SIGNALS
from airfleet_provider.processes import lifecycle

REQUEST_BYTES = 1 << 20
STREAMS = 3
ALLOWED = frozenset(map(int, SIGNALS))


def listen(home: Path, name: str = COMMANDS) -> socket.socket | None:
    """Return a socket for requests, which only this user may open; None if it cannot be created."""
    path = home / name
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        path.unlink(missing_ok=True)
        made.bind(str(path))
        path.chmod(0o600)
        made.listen(16)
    except OSError as error:  # the path is too long, or the disk is full
        print(f"airfleet: no requests come through {name}: {error}", file=sys.stderr, flush=True)
        made.close()
        return None
    return made


def accept(listener: socket.socket, others: Sequence[socket.socket], attend: Callable[[socket.socket], int]) -> None:
    """Serve one client in a process of its own, which is not a child of this process; never wait and never raise."""
    try:
        client, _ = listener.accept()
    except OSError:
        return
    with client:
        middle = os.fork()
        if middle:
            os.waitpid(middle, 0)
            return
        code = 1
        try:
            if os.fork() == 0:
                for one in (listener, *others):
                    one.close()
                code = attend(client)
        except BaseException as error:
            print(f"airfleet: cannot do what a client asks: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)


def attend(client: socket.socket, run: Callable[[Sequence[str]], int]) -> int:
    """Run the command that a client sends, in a process of its own, and tell the client its exit code."""
    setproctitle("airfleet command")
    if user_of(client) != os.geteuid():
        return 1
    client.send(GREETING)
    message, streams = _receive(client)
    if not message or len(streams) != STREAMS:
        return 1
    order = json.loads(message)
    own = os.getpid()
    child = os.fork()
    if child == 0:
        client.close()
        _become(order, streams, run, own)
    signal.signal(signal.SIGTERM, lambda *_: _hang_up(child))  # as the supervisor sends it when the image has ended
    for stream in streams:
        os.close(stream)
    code = os.waitstatus_to_exitcode(_await(client, child))
    with suppress(OSError):
        client.send(json.dumps({"code": code if code >= 0 else 128 - code}).encode())
    return 0


def _hang_up(child: int) -> NoReturn:
    """End the command and this process: the client is told that its command has ended."""
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGHUP)
    os._exit(1)


def user_of(client: socket.socket) -> int:
    """Return the user whose process has opened the other end of a connection."""
    told = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", told)[1])


def _receive(client: socket.socket) -> tuple[bytes, list[int]]:
    room = array.array("i")
    message, ancillary, _, _ = client.recvmsg(REQUEST_BYTES, socket.CMSG_SPACE(STREAMS * room.itemsize))
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            room.frombytes(data[: len(data) - len(data) % room.itemsize])
    return message, list(room)


def _await(client: socket.socket, child: int) -> int:
    """Return the child's exit status; until then pass on the client's signals, and SIGHUP when the client ends."""
    with os.fdopen(os.pidfd_open(child), "rb") as ended:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(client, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if ended.fileno() in ready:
                return os.waitpid(child, 0)[1]
            number = client.recv(16)
            if not number:
                poll.unregister(client)
            wanted = int(number) if number.isdigit() else int(signal.SIGHUP)
            if wanted in ALLOWED:
                with suppress(ProcessLookupError):
                    os.killpg(child, wanted)


def _become(
    order: Mapping[str, Any], streams: Sequence[int], run: Callable[[Sequence[str]], int], parent: int
) -> NoReturn:
    code = 1
    try:
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(one, signal.default_int_handler if one == signal.SIGINT else signal.SIG_DFL)
        lifecycle.die_with(parent, signal.SIGHUP)
        os.chdir(order["cwd"])
        os.umask(order["umask"])
        os.environ.clear()
        os.environ.update(order["env"])
        setproctitle("airflow " + " ".join(order["argv"][1:3]))
        code = run(order["argv"])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for output in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                output.flush()
        os._exit(code)
