"""A wait that ends early when a signal arrives."""

from __future__ import annotations

import math
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Wake:
    """A context in which SIGTERM, SIGINT and SIGHUP call `stop`. They and the end of a child also end `wait`."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._reader, self._writer = socket.socketpair()
        self._poll = select.poll()  # select() refuses descriptors above 1023
        self._poll.register(self._reader, select.POLLIN)
        self._previous: dict[int, signal.Handlers | Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        for end in (self._reader, self._writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            self._previous[number] = signal.signal(number, lambda *_: self._stop())
        self._previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def wait(self, seconds: float, *, or_readable: int | None = None) -> None:
        """Sleep for this number of seconds, or until the next signal, or until this descriptor can be read."""
        if or_readable is not None:
            self._poll.register(or_readable, select.POLLIN)
        self._poll.poll(math.ceil(max(seconds, 0.0) * 1000))
        if or_readable is not None:
            self._poll.unregister(or_readable)
        with suppress(BlockingIOError):
            self._reader.recv(4096)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._reader.close()
        self._writer.close()
