"""Whether the hosts that run tasks answer at all: a host without power does not even refuse a connection."""

from __future__ import annotations

import errno
import ipaddress
import select
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field

ANSWERS = (0, errno.ECONNREFUSED)


@dataclass(slots=True)
class HostProbe:
    """Since when each host leaves questions on a port unanswered, where something may listen or not; nothing waits."""

    port: int
    clock: Callable[[], float] = time.monotonic
    known: set[str] = field(default_factory=set)
    unanswered: dict[str, float] = field(default_factory=dict)
    asked: dict[str, tuple[float, socket.socket]] = field(default_factory=dict)

    def feel(self, hosts: Iterable[str]) -> None:
        """Take the answers to what was asked at the last call, and ask these hosts."""
        for host, (when, asked) in self.asked.items():
            with closing(asked):
                if _has_answer(asked):
                    self.known.add(host)
                    self.unanswered.pop(host, None)
                else:
                    self.unanswered.setdefault(host, when)
        self.asked = {host: (self.clock(), connection) for host in hosts if (connection := _ask(host, self.port))}
        self.known &= self.asked.keys()
        self.unanswered = {host: when for host, when in self.unanswered.items() if host in self.known}

    def is_silent(self, host: str, seconds: float) -> bool:
        """Whether a host that used to answer has not for so long; one that never did may be behind a firewall."""
        return host in self.unanswered and self.clock() - self.unanswered[host] >= seconds


def _ask(host: str, port: int) -> socket.socket | None:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:  # a name would have to be looked up, which waits
        return None
    connection = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6)
    connection.setblocking(False)
    with suppress(OSError):
        connection.connect_ex((host, port))
    return connection


def _has_answer(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    return bool(poll.poll(0)) and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in ANSWERS
