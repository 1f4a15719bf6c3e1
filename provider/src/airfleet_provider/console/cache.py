"""Values that are kept for a few seconds, so that many open pages cost as much as one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Value = TypeVar("Value")
MOST = 1000


class Cache:
    """Keeps values for `kept_s` seconds. Of several threads that want the same value, one makes it and the rest wait.

    An error is not kept.
    """

    def __init__(self, kept_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept_s = kept_s
        self._clock = clock
        self._values: dict[Hashable, tuple[float, Any]] = {}
        self._locks: dict[Hashable, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key. `make` makes it if there is none that is young enough."""
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            found = self._values.get(key)
            if found and self._clock() - found[0] < self._kept_s:
                value: Value = found[1]
                return value
            value = make()
            self._keep(key, value)
            return value

    def forget(self, key: Hashable) -> None:
        """Forget the value of a key, because what it was read from has changed."""
        self._values.pop(key, None)

    def _keep(self, key: Hashable, value: object) -> None:
        now = self._clock()
        with self._guard:
            if len(self._values) >= MOST:
                old = [one for one, (made, _) in self._values.items() if now - made >= self._kept_s]
                for one in old:
                    self._values.pop(one, None)
                    self._locks.pop(one, None)
            self._values[key] = (now, value)
