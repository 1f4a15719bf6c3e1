"""The messages between supervisors, the zygote pool and zygotes: one JSON object each, with file descriptors."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

MESSAGE_BYTES = 1 << 16
# Names the descriptor on which supervisors send requests to the zygote pool; all processes of an executor inherit the
# variable and the descriptor.
CHANNEL_VARIABLE = "AIRFLEET_KEEPER_FD"
# The descriptors of a task: its channel of requests, stdout, stderr, log, and the socket that reports its end.
TASK_DESCRIPTORS = 5


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets that keep the boundaries of messages, and show when the other side has gone."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one complete message.

    Raises:
        OSError: the other side has gone, or the socket is non-blocking and its buffer is full.
    """
    socket.send_fds(channel, [json.dumps(message).encode()], list(descriptors), socket.MSG_NOSIGNAL)


def receive(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Receive one message and its descriptors; the message is None if the other side has gone."""
    data, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, TASK_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    return (json.loads(data) if data else None), descriptors
