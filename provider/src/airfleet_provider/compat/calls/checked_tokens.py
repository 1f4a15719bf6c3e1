"""Tokens of tasks that were checked a moment ago."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from cachetools import TTLCache

# A token counts as checked for so long. A key that is taken away counts no longer than that.
KNOWN_S = 30.0
MOST_KNOWN = 1000


class CheckedTokens:
    """What a check of some tokens found a moment ago. A task makes several calls with one token."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._found: TTLCache[str, tuple[str, Mapping[str, Any]]] = TTLCache(MOST_KNOWN, KNOWN_S, clock)

    def find(self, token: str) -> tuple[str, Mapping[str, Any]] | None:
        """Return the task instance and the claims of a token that is known and has not expired."""
        found = self._found.get(token)
        return found if found and self._now() < found[1]["exp"] else None

    def keep(self, token: str, subject: str, claims: Mapping[str, Any]) -> None:
        """Keep what a check found, and forget another of too many."""
        self._found[token] = (subject, MappingProxyType(dict(claims)))
