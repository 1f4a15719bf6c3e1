"""Waits for descriptors with any number; select() refuses numbers above 1023, which a busy process may have."""

from __future__ import annotations

import math
import select
from collections.abc import Iterable
from typing import Protocol, TypeVar


class HasDescriptor(Protocol):
    """An object with a descriptor to wait for."""

    def fileno(self) -> int: ...


T = TypeVar("T", bound=HasDescriptor)


def wait_readable(sources: Iterable[T], seconds: float) -> list[T]:
    """Wait up to `seconds`; return the sources that can be read or have ended, or an empty list after the time."""
    return _wait({one.fileno(): one for one in sources}, select.POLLIN | select.POLLPRI, seconds)


def wait_writable(sources: Iterable[T], seconds: float) -> list[T]:
    """Wait up to `seconds`; return the sources that can be written or have ended, or an empty list after the time."""
    return _wait({one.fileno(): one for one in sources}, select.POLLOUT, seconds)


def _wait(sources: dict[int, T], events: int, seconds: float) -> list[T]:
    poll = select.poll()
    for descriptor in sources:
        poll.register(descriptor, events)
    # Round up: callers repeat a wait that ends too early, many times and each with 0 ms.
    return [sources[descriptor] for descriptor, _ in poll.poll(math.ceil(max(seconds, 0.0) * 1000))]
