"""Followed journals of hosts end at an interrupt and when the output is closed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airfleet.runners.fleet import journals
from places import parse

LIMIT_S = 10
HOSTS = journals.choose(parse(), ["sched1", "sched2", "web1"])


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


@pytest.fixture
def connections() -> list[FollowedHost]:
    return []


def follow(connections: list[FollowedHost], write: Callable[[str, str], None]) -> None:
    def connect(host: Any, project: Path) -> FollowedHost:  # noqa: ANN401
        connections.append(FollowedHost(host, project))
        return connections[-1]

    journals.show(HOSTS, Path(), journals.JournalQuery(follow=True), write=write, connect=connect)  # type: ignore[arg-type]


def test_an_interrupt_ends_the_reading_of_every_host(connections: list[FollowedHost]) -> None:
    lines: list[str] = []

    def write(host: str, line: str) -> None:
        lines.append(line)
        if len(lines) == len(HOSTS):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        follow(connections, write)
    assert len(connections) == len(HOSTS)
    assert not any(one.waited_in_vain for one in connections)
    assert sorted(lines) == ["sched1 works", "sched2 works", "web1 works"]


def test_an_output_that_is_closed_ends_the_reading_of_every_host(connections: list[FollowedHost]) -> None:
    def write(host: str, line: str) -> None:
        if host == HOSTS[0].name:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        follow(connections, write)
    assert not any(one.waited_in_vain for one in connections)
