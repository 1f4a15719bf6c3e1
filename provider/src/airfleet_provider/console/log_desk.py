"""Searches the index of logs for the Fleet pages, one search at a time: no searcher takes the api-server over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from airfleet_provider.log_search import readers

if TYPE_CHECKING:
    from airfleet_provider.log_index.store import FoundLines, LogQuery, LogReader

# Those who wait hold a thread of the api-server, which has 40 for all of Airflow's UI. So few may.
WAIT_S = 2.0
MOST_WAITING = 4
BUSY = "another search in the logs has not ended yet; try again"


class LogDeskBusyError(RuntimeError):
    """Another search has not ended for some seconds, or others wait for it already."""


class LogDesk:
    """The index of this platform's logs. It is opened at the first search."""

    def __init__(self, open_reader: Callable[[], LogReader | None] = readers.open_reader) -> None:
        self._open_reader = open_reader
        self._reader: LogReader | None = None
        self._lock = threading.Lock()
        # One place is that of the search itself.
        self._places = threading.BoundedSemaphore(1 + MOST_WAITING)

    def search(self, question: LogQuery, most: int) -> FoundLines | None:
        """Return the newest lines, `most` at most, or None if this platform has no index.

        Raises:
            LogStoreError: The index does not answer.
            LogDeskBusyError: Another search runs for long, or too many wait.
        """
        if not self._places.acquire(blocking=False):
            raise LogDeskBusyError(BUSY)
        try:
            if not self._lock.acquire(timeout=WAIT_S):
                raise LogDeskBusyError(BUSY)
            try:
                if self._reader is None:
                    self._reader = self._open_reader()
                return self._reader.search(question, most) if self._reader else None
            finally:
                self._lock.release()
        finally:
            self._places.release()
