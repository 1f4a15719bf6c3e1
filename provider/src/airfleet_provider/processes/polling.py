"""Waits for descriptors of any number: select() refuses those above 1023, which a busy process has."""

from __future__ import annotations

import math
import select
from collections.abc import Iterable
from typing import Protocol, TypeVar


class HasDescriptor(Protocol):
    """What can be waited for."""

    def fileno(self) -> int: ...


T = TypeVar("T", bound=HasDescriptor)


def wait_readable(sources: Iterable[T], seconds: float) -> list[T]:
    """Those that can be read, or have ended; none when the time is over."""
    return _wait({one.fileno(): one for one in sources}, select.POLLIN | select.POLLPRI, seconds)


def wait_writable(sources: Iterable[T], seconds: float) -> list[T]:
    """Those that can be written to, or have ended; none when the time is over."""
    return _wait({one.fileno(): one for one in sources}, select.POLLOUT, seconds)


def _wait(sources: dict[int, T], events: int, seconds: float) -> list[T]:
    poll = select.poll()
    for descriptor in sources:
        poll.register(descriptor, events)
    # Rounded up: a wait that is shorter than asked for would become many waits of no time at all.
    return [sources[descriptor] for descriptor, _ in poll.poll(math.ceil(max(seconds, 0.0) * 1000))]
