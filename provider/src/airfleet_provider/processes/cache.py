"""Values that are kept for a few seconds, so that many who ask cost as much as one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

Value = TypeVar("Value")
MOST = 1000
# An error is kept for at most so many seconds, also where values are kept for longer.
ERROR_KEPT_S = 3.0


@dataclass(frozen=True, slots=True)
class _Failure:
    """What is kept instead of a value if there is none."""

    error: Exception


def keep_no_error(_: Exception) -> bool:
    """Return that an error is not kept, whatever it is."""
    return False


class Cache:
    """Keeps values for `kept_s` seconds. Of several threads that want the same value, one makes it and the rest wait.

    An error for which `keeps_error` returns True, such as an outage of the database, is kept for ERROR_KEPT_S at most.
    Those who wait fail with it at once, instead of trying one after another, each until a time-out. Other errors are
    not kept. A value is as old as its arrival, or, with `ages_from_question`, as the question: nobody gets one that was
    true longer ago than `kept_s`, however long the answer took.
    """

    def __init__(
        self,
        kept_s: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        keeps_error: Callable[[Exception], bool] = keep_no_error,
        ages_from_question: bool = False,
    ) -> None:
        self._kept_s = kept_s
        self._clock = clock
        self._keeps_error = keeps_error
        self._ages_from_question = ages_from_question
        self._values: dict[Hashable, tuple[float, Any]] = {}
        self._locks: dict[Hashable, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key. `make` makes it if there is none that is young enough.

        Raises:
            Exception: What `make` raises now, or raised for another thread shortly before.
        """
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            found = self._values.get(key)
            if found and self._is_fresh(*found):
                if isinstance(found[1], _Failure):
                    # The traceback of the thread before would grow with each thread that fails with this error.
                    raise found[1].error.with_traceback(None)
                value: Value = found[1]
                return value
            asked = self._clock()
            try:
                value = make()
            except Exception as error:
                if self._keeps_error(error):
                    self._keep(key, _Failure(error), self._clock())
                raise
            self._keep(key, value, asked if self._ages_from_question else self._clock())
            return value

    def forget(self, key: Hashable) -> None:
        """Forget the value of a key, because what it was read from has changed."""
        self._values.pop(key, None)

    def _is_fresh(self, made: float, value: object) -> bool:
        kept_s = min(self._kept_s, ERROR_KEPT_S) if isinstance(value, _Failure) else self._kept_s
        return self._clock() - made < kept_s

    def _keep(self, key: Hashable, value: object, at: float) -> None:
        with self._guard:
            if len(self._values) >= MOST:
                old = [one for one, (made, _) in self._values.items() if at - made >= self._kept_s]
                for one in old:
                    self._values.pop(one, None)
                    self._locks.pop(one, None)
            self._values[key] = (at, value)
