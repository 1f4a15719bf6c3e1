"""Journals of a fleet's hosts that are followed end when a person interrupts."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from airfleet.runners.fleet import journals
from places import parse

LIMIT_S = 10


class FollowedHost:
    """A connection to a host that writes one line, and no other until the connection is closed."""

    def __init__(self, host: Any, _: Path) -> None:  # noqa: ANN401
        self.pieces = [f"{host.name} works\n".encode()]
        self.closed = threading.Event()
        self.waited_in_vain = False

    def open(self) -> None:
        return

    def close(self) -> None:
        self.closed.set()

    def start(self, _: str) -> FollowedHost:
        return self

    def recv(self, _: int) -> bytes:
        if self.pieces:
            return self.pieces.pop()
        self.waited_in_vain = not self.closed.wait(LIMIT_S)
        return b""

    def recv_stderr(self, _: int) -> bytes:
        return b""

    def recv_exit_status(self) -> int:
        return -1


def test_an_interrupt_ends_the_reading_of_every_host() -> None:
    hosts = journals.choose(parse(), ["sched1", "sched2", "web1"])
    lines: list[str] = []
    connections: list[FollowedHost] = []

    def connect(host: Any, project: Path) -> FollowedHost:  # noqa: ANN401
        connections.append(FollowedHost(host, project))
        return connections[-1]

    def write(host: str, line: str) -> None:
        lines.append(line)
        if len(lines) == len(hosts):
            os.kill(os.getpid(), signal.SIGINT)

    follow = journals.Question(follow=True)
    with pytest.raises(KeyboardInterrupt):
        journals.show(hosts, Path(), follow, write=write, connect=connect)  # type: ignore[arg-type]
    assert len(connections) == len(hosts)
    assert not any(one.waited_in_vain for one in connections)
    assert sorted(lines) == ["sched1 works", "sched2 works", "web1 works"]
