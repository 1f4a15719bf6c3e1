"""Whether the hosts that run tasks answer connection attempts: a host without power does not even refuse them."""

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
    """Tries to connect to a port of each host, and records since when a host has not answered.

    A refused connection is an answer too, so no process needs to listen there. No method waits.
    """

    port: int
    clock: Callable[[], float] = time.monotonic
    known: set[str] = field(default_factory=set)
    unanswered: dict[str, float] = field(default_factory=dict)
    asked: dict[str, tuple[float, socket.socket]] = field(default_factory=dict)

    def feel(self, hosts: Iterable[str]) -> None:
        """Read the answers to the last call's connection attempts, and start an attempt to each of these hosts."""
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
        """Return whether a host that answered before has not answered for `seconds`.

        A host that never answered is not silent: it may be behind a firewall.
        """
        return host in self.unanswered and self.clock() - self.unanswered[host] >= seconds


def _ask(host: str, port: int) -> socket.socket | None:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:  # a name needs a lookup, which would wait
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
