"""Searches the index of logs for the Fleet pages, one search at a time: no searcher takes the api-server over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from airfleet_provider.log_search import readers

if TYPE_CHECKING:
    from airfleet_provider.log_index.store import FoundLines, LogQuery, LogReader

# Those who wait hold a thread of the api-server.
WAIT_S = 2.0


class LogDeskBusyError(RuntimeError):
    """Another search has not ended for some seconds."""


class LogDesk:
    """The index of this platform's logs. It is opened at the first search."""

    def __init__(self, open_reader: Callable[[], LogReader | None] = readers.open_reader) -> None:
        self._open_reader = open_reader
        self._reader: LogReader | None = None
        self._lock = threading.Lock()

    def search(self, question: LogQuery, most: int) -> FoundLines | None:
        """Return the newest lines, `most` at most, or None if this platform has no index.

        Raises:
            LogStoreError: The index does not answer.
            LogDeskBusyError: Another search runs for long.
        """
        if not self._lock.acquire(timeout=WAIT_S):
            raise LogDeskBusyError("another search in the logs has not ended yet; try again")
        try:
            if self._reader is None:
                self._reader = self._open_reader()
            return self._reader.search(question, most) if self._reader else None
        finally:
            self._lock.release()
