"""Whether the session of a user still counts, who comes from a directory or an OpenID provider (ADR 78)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from airfleet_provider.access.directory_store import KnownUser
from airfleet_provider.contract.directory import Directory
from airfleet_provider.processes.cache import Cache

# What the database says is known for so many seconds.
KEPT_S = 5.0


class KnownUsers:
    """Reads all users of the source from the database, at most once in KEPT_S seconds for all requests.

    Methods raise what the database raises: without an answer, nobody from a directory gets in.
    """

    def __init__(
        self,
        directory: Directory,
        read: Callable[[], Mapping[int, KnownUser]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._read = read
        self._cache = Cache(KEPT_S, clock, keeps_error=lambda _: True, ages_from_question=True)

    def has_ended(self, number: int) -> bool:
        """Return whether somebody from a source must log in again. Users of this platform itself never must."""
        known: Mapping[int, KnownUser] = self._cache.get(None, self._read)
        # Somebody who has just logged in again is let in at once.
        return self._judge(known.get(number)) and self._judge(self._read().get(number))

    def _judge(self, found: KnownUser | None) -> bool:
        if found is None:
            return False
        if found.is_ended or found.source != self._directory.source.identity:
            return True
        return found.age_s > self._directory.session_s
