"""Keeps the lines of many agents with few commits: those that arrive within a moment are in one.

A commit costs as much for one line as for thousands. Each agent waits until its lines are on the disk, and only then
notes how far it came.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from airfleet_provider.log_index.lines import Line
from airfleet_provider.log_index.store import LogStoreError, LogWriter

log = logging.getLogger(__name__)

# Seconds for which the first lines of a commit wait for others.
GATHER_S = 0.2
# Seconds for which an agent waits. It asks again after that, and the lines are kept once all the same.
PATIENCE_S = 15.0


@dataclass(slots=True)
class _Batch:
    """The lines of one commit. `error` is set if it failed: then none of them was kept."""

    lines: int = 0
    begun: float = 0.0
    done: threading.Event = field(default_factory=threading.Event)
    error: str = ""


@dataclass(slots=True)
class Kept:
    """What the keeper has done since it began. `failing` is why the last commit failed, or ""."""

    lines: int = 0
    left_out: int = 0
    commits: int = 0
    failures: int = 0
    failing: str = ""


class Keeper:
    """Adds lines for many threads, and commits them in one."""

    def __init__(self, writer: LogWriter, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._writer = writer
        self._clock = clock
        self._lock = threading.Lock()
        self._has_lines = threading.Event()
        self._batch = _Batch()
        self.kept = Kept()

    def keep(self, lines: Sequence[Line]) -> None:
        """Return when the lines are on the disk. Lines that were kept before are left out.

        Lines that another request still adds are in the same commit, so it is waited for although nothing is new.

        Raises:
            LogStoreError: They may not be kept. The agent must send them again.
        """
        with self._lock:
            batch = self._batch
            try:
                self.kept.left_out += self._writer.add(lines)
            except LogStoreError as error:
                # What was added before is given up too, so that no part of a request is kept without the rest.
                self._fail(error)
                raise
            if not batch.lines:
                batch.begun = self._clock()
            batch.lines += len(lines)
            self._has_lines.set()
        if not batch.done.wait(PATIENCE_S):
            raise LogStoreError("the disk is slow: the lines are not kept yet")
        if batch.error:
            raise LogStoreError(batch.error)

    def commit_next(self, wait_s: float) -> None:
        """Wait for lines, `wait_s` at most, and commit them GATHER_S after the first of them."""
        if not self._has_lines.wait(wait_s):
            return
        with self._lock:
            begun = self._batch.begun
        time.sleep(max(0.0, GATHER_S - (self._clock() - begun)))
        with self._lock:
            if not self._batch.lines:
                return
            try:
                self._writer.commit()
            except LogStoreError as error:
                self._fail(error)
                return
            except Exception as error:
                # The agents that wait must hear of an error that nobody foresaw.
                log.exception("a commit failed")
                self._fail(LogStoreError(f"{type(error).__name__}: {error}"))
                return
            self.kept.lines += self._batch.lines
            self.kept.commits += 1
            self.kept.failing = ""
            self._end("")

    def wake(self) -> None:
        """Let `commit_next` return at once, although there may be no lines."""
        self._has_lines.set()

    def forget_before(self, at: int) -> None:
        """Remove the lines of the days before a moment."""
        with self._lock:
            self._writer.forget_before(at)

    def close(self) -> None:
        """Commit what was added, and let another process write."""
        self.commit_next(0)
        with self._lock:
            self._writer.close()

    def _fail(self, error: LogStoreError) -> None:
        if str(error) != self.kept.failing:
            log.error("lines are not kept, and the agents send them again: %s", error)
        self._writer.close()
        self.kept.failures += 1
        self.kept.failing = str(error)
        self._end(str(error))

    def _end(self, error: str) -> None:
        batch, self._batch = self._batch, _Batch()
        self._has_lines.clear()
        batch.error = error
        batch.done.set()
