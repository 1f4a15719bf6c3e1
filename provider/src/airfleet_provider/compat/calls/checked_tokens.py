"""Tokens of tasks that were checked a moment ago."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

# A token counts as checked for so long. A key that is taken away counts no longer than that.
KNOWN_S = 30.0
MOST_KNOWN = 1000


class CheckedTokens:
    """What a check of some tokens found a moment ago. A task makes several calls with one token."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self._clock, self._now = clock, now
        self._found: OrderedDict[str, tuple[float, str, Mapping[str, Any]]] = OrderedDict()

    def find(self, token: str) -> tuple[str, Mapping[str, Any]] | None:
        """Return the task instance and the claims of a token that is known and has not expired."""
        checked, subject, claims = self._found.get(token, (-KNOWN_S, "", {}))
        return (subject, claims) if self._clock() - checked < KNOWN_S and self._now() < claims["exp"] else None

    def keep(self, token: str, subject: str, claims: Mapping[str, Any]) -> None:
        """Keep what a check found, and forget the oldest of too many."""
        self._found.pop(token, None)
        self._found[token] = (self._clock(), subject, MappingProxyType(dict(claims)))
        if len(self._found) > MOST_KNOWN:
            self._found.popitem(last=False)
