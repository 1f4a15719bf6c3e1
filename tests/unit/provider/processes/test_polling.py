"""Waiting for descriptors whatever their number is."""

from __future__ import annotations

import fcntl
import re
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from airfleet_provider.processes import polling

SOURCES = Path(__file__).parents[4]


@pytest.fixture
def high() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a channel, the first under a number that select() refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip(f"this machine allows {hard} open files, and 2048 are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    low, other = socket.socketpair()
    with low, other, socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 1500)) as one:
        yield one, other
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_descriptor_of_any_number_can_be_waited_for(high: tuple[socket.socket, socket.socket]) -> None:
    one, other = high
    assert polling.wait_readable([one, other], 0) == []
    assert polling.wait_writable([one], 0) == [one]
    other.send(b"news")
    assert polling.wait_readable([one, other], 60) == [one]
    one.recv(10)
    other.close()
    assert polling.wait_readable([one], 60) == [one]


def test_nothing_of_the_product_waits_with_select() -> None:
    for folder in ("src", "provider/src"):
        for path in (SOURCES / folder).rglob("*.py"):
            assert not re.search(r"\bselect\.select\(", path.read_text()), f"{path}: descriptors above 1023 break it"
