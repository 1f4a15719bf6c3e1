"""Keeps a directory, or an OpenID provider, that hangs from holding the threads of the api-server (ADR 94).

A login waits for the source in one of the threads that answer all other requests too. So few logins do so at once, and
few more wait for their turn. The others are refused at once, with a reason.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from airfleet_provider.access.directory_errors import DirectoryError

# Of 40 threads of an api-server. A login takes a directory some hundredths of a second.
AT_ONCE, WAITING = 4, 4
WAIT_S = 2.0
BUSY_HINT = "try again in a moment; users of fleet.yaml can log in meanwhile"


class SourceBusyError(DirectoryError):
    """As many logins wait for the source as may."""


class SourceGate:
    """Lets so many logins of this process ask the source at once."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING, wait_s: float = WAIT_S) -> None:
        self._places = threading.BoundedSemaphore(at_once + waiting)
        self._turns = threading.BoundedSemaphore(at_once)
        self._wait_s = wait_s

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Wait for a turn to ask the source, and hold it.

        Raises:
            SourceBusyError: It does not come in time, or too many wait already.
        """
        if not self._places.acquire(blocking=False):
            raise SourceBusyError("too many logins wait for an answer", BUSY_HINT)
        try:
            if not self._turns.acquire(timeout=self._wait_s):
                raise SourceBusyError("the logins before this one have no answer yet", BUSY_HINT)
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._places.release()
