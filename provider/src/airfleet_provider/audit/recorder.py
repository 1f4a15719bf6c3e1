"""Writes the audit log of one process: one thread, one connection, and one transaction for all that waits."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger("airfleet")

# So many pieces of work share a transaction, and so many may wait.
MOST_TOGETHER = 200
MOST_WAITING = 2000
# Work that must not be lost is tried again this often while the database is away; so many pieces are kept.
AGAIN_S = 1.0
MOST_KEPT = 10_000

# The SQLSTATE of a server that was the primary until a moment ago.
READ_ONLY = "25006"

# Executes statements with a cursor of psycopg2, and returns what the caller waits for. The last statement records, and
# those before it may be committed without it.
Work = Callable[[Any], Any]


class RecorderBusyError(RuntimeError):
    """Too much work waits for the database."""


@dataclass(frozen=True, slots=True)
class _Item:
    work: Work
    is_kept: bool
    future: Future[Any] = field(default_factory=Future)


class Recorder:
    """Executes the work of all requests of a process in the order in which it came."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        """Use `connect` to open a connection of psycopg2; it is called at the first work, in the thread."""
        self._connect = connect
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._kept: deque[_Item] = deque(maxlen=MOST_KEPT)
        self._connection: Any = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def submit(self, work: Work, *, is_kept: bool = False) -> Future[Any]:
        """Execute `work` soon, and commit; the future has what it returned, or the error.

        With `is_kept`, work that met an outage fails for its caller, and is tried again until the database answers.
        Such work must do no harm if it is done twice.

        Raises:
            RecorderBusyError: Too much work waits.
        """
        if self._queue.qsize() >= MOST_WAITING and not is_kept:
            raise RecorderBusyError("too many requests wait for the audit log")
        item = _Item(work, is_kept)
        self._queue.put(item)
        self._start()
        return item.future

    def _start(self) -> None:
        # Not in the constructor: a process that forks after it would have no thread.
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            items = self._take()
            if self._kept:
                items = [*self._kept, *items]
                self._kept.clear()
            if not items or self._execute(items):
                continue
            if len(items) == 1 or self._connection is None:
                # The database is away. More attempts would hold up every request.
                continue
            for item in items:
                self._execute([item])

    def _take(self) -> list[_Item]:
        try:
            items = [self._queue.get(timeout=AGAIN_S if self._kept else None)]
        except queue.Empty:
            return []
        while len(items) < MOST_TOGETHER:
            try:
                items.append(self._queue.get_nowait())
            except queue.Empty:
                break
        # Who has given up waiting was told that nothing was recorded. From here on nobody can give up.
        return [one for one in items if one.future.set_running_or_notify_cancel() or one.is_kept]

    def _execute(self, items: list[_Item], *, is_second: bool = False) -> bool:
        """Execute work in one transaction, and return whether it was committed; settle the futures if so.

        An error of one piece is one of all, so several pieces that fail are executed one by one by the caller. A
        connection that broke since it was last used, as in a fail-over, is replaced, and the work is done once more.
        """
        is_reused = self._connection is not None
        try:
            if self._connection is None:
                self._connection = self._connect()
            # One piece alone needs no transaction around its statements: that saves two of its round trips.
            self._connection.autocommit = len(items) == 1
            with self._connection.cursor() as cursor:
                answers = [item.work(cursor) for item in items]
            if len(items) > 1:
                self._connection.commit()
        except Exception as error:
            if is_reused and not is_second and is_outage(error):
                self._close()
                return self._execute(items, is_second=True)
            self._fail(items, error)
            return False
        for item, answer in zip(items, answers, strict=True):
            if not item.future.done():
                item.future.set_result(answer)
        return True

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def _fail(self, items: list[_Item], error: Exception) -> None:
        is_away = self._connection is None or is_outage(error)
        if is_away:
            self._close()
        else:
            with contextlib.suppress(Exception):
                self._connection.rollback()
        if not is_away and len(items) > 1:
            return
        for item in items:
            if is_away and item.is_kept:
                self._kept.append(item)
            if not item.future.done():
                item.future.set_exception(error)
        log.warning("The audit log was not written: %s", str(error).strip().splitlines()[:1] or type(error).__name__)


def is_outage(error: Exception) -> bool:
    """Return whether an error of psycopg2 says that the server does not answer, or that it only reads at the moment."""
    import psycopg2  # noqa: PLC0415 - Airflow's driver

    is_read_only = getattr(error, "pgcode", None) == READ_ONLY
    return is_read_only or isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
