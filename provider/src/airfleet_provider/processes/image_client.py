"""Requests to the task image of a platform on one machine: a process that was forked, and not started as a program.

The image has imported what zygote pools and parsers need, and shares its memory with them. Where there is no image, as
on hosts of a fleet, or where it does not answer, callers start a program of their own.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airfleet_provider.contract import fallbacks
from airfleet_provider.contract.fork_protocol import GO, TASK_IMAGE

# Seconds to wait for the image. It accepts requests while it imports Airflow, and answers them afterwards.
ANSWER_S = 20.0
REQUEST_BYTES = 1 << 20


@dataclass(slots=True)
class ForkedProgram:
    """A process that is no child of this one, with the descriptor that is readable when it has ended."""

    pidfd: int

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self.pidfd

    def kill(self) -> None:
        """Kill the process if it still runs."""
        with suppress(OSError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def wait(self) -> None:
        """Return when the process has ended."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.poll()
        self.close()

    def close(self) -> None:
        """Close the descriptor."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def fork(
    kind: str,
    given: Mapping[str, Any],
    descriptors: Sequence[int],
    *,
    env: Mapping[str, str],
    settings: str = "",
) -> ForkedProgram | None:
    """Return a new process of this kind, or None if no image could make it.

    A fork uses none of `descriptors` before it is told to go on. So after None, one that comes late only ends.

    It inherits stdout and stderr of this process, and `descriptors`; `given` is for its main function. The image
    refuses a request whose digest of the open `settings` is another than that of its own.
    """
    home = env.get("AIRFLOW_HOME")
    path = Path(home or "", TASK_IMAGE)
    if not home or not path.exists():
        return None
    counter = fallbacks.open_counter(fallbacks.TASK_IMAGE, os.environ)
    order = {
        "kind": kind,
        "given": dict(given),
        "env": dict(env),
        "path": sys.path,
        "cwd": os.getcwd(),  # noqa: PTH109 - it goes over the wire as text
        "settings": settings,
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        channel.settimeout(ANSWER_S)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BYTES)
        try:
            channel.connect(str(path))
            message = json.dumps(order).encode("utf-8", "surrogateescape")
            socket.send_fds(channel, [message], [1, 2, *descriptors])
            answer, found, _, _ = socket.recv_fds(channel, REQUEST_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        except (OSError, ValueError) as error:
            counter.fell_back(f"{kind}: the task image did not answer: {error}")
            return None
        if not found:
            reason = json.loads(answer)["refused"] if answer else "it has gone"
            counter.fell_back(f"{kind}: the task image made none: {reason}")
            return None
        made = ForkedProgram(found[0])
        try:
            channel.send(GO)
        except OSError as error:
            made.close()
            counter.fell_back(f"{kind}: the fork of the task image has gone: {error}")
            return None
        counter.took_fast()
        return made


def receive(channel: socket.socket, most: int) -> tuple[dict[str, Any] | None, list[int]]:
    """Receive one request and its descriptors, in a fork of the image; the request is None if the client has gone."""
    room = array.array("i")
    message, ancillary, _, _ = channel.recvmsg(
        REQUEST_BYTES, socket.CMSG_SPACE(most * room.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            room.frombytes(data[: len(data) - len(data) % room.itemsize])
    return (json.loads(message) if message else None), list(room)
