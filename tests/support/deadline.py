"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, TypeVar

T = TypeVar("T")

# Seconds that a test waits for what must come: a condition, an answer, the end of a process. No test waits for less,
# because a machine with two cores that runs other tests as well may stand still for a minute, and what comes in time
# ends the wait. A test that wants to show that something is quick shows what it does not wait for. It measures nothing.
PATIENCE_S = 300.0
# Seconds for one request of a wait that asks again, or that may reach a host without power.
REQUEST_S = 60.0
# Seconds for a whole command, such as an installation or an apply. It ends by itself, unless it hangs.
COMMAND_S = 900.0
# Seconds for an apply. One that exchanges secrets changes the hosts in up to four rounds.
APPLY_S = 4 * COMMAND_S
# On a machine that is so busy that one look takes as long as the whole wait, one look would be no wait.
LOOKS = 3


def wait_until(
    condition: Callable[[], T | Literal[False] | None],
    what: str,
    *,
    timeout_s: float = PATIENCE_S,
    every_s: float = 0.05,
    seen: Callable[[], object] | None = None,
) -> T:
    """Return the first true value of the condition, which is asked every `every_s` seconds, and three times at least.

    A `timeout_s` of less than PATIENCE_S counts as PATIENCE_S.

    Raises:
        AssertionError: The condition was not true in time. The message has `what` was waited for, the last value of the
            condition, what `seen` returns then, and how long the looks took.
    """
    timeout_s = max(timeout_s, PATIENCE_S)
    began = time.monotonic()
    looks, longest = 0, 0.0
    while True:
        looked = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        looks, longest = looks + 1, max(longest, now - looked)
        if now - began >= timeout_s and looks >= LOOKS:
            shown = [f"not within {timeout_s:g} s: {what}", f"{looks} looks, the longest took {longest:.1f} s"]
            shown += [] if value in (None, False) else [f"last value: {value!r}"]
            shown += [f"seen last: {_describe(seen)}"] if seen else []
            raise AssertionError("; ".join(shown))
        time.sleep(every_s)


def _describe(seen: Callable[[], object]) -> object:
    try:
        return seen()
    except Exception as error:  # the time-out is what failed the test
        return repr(error)
