"""Loops of the agents process: each has a thread and a connection of its own, and fails alone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import Connection, Cursor
from psycopg.rows import dict_row

from airfleet_provider.agent_loops.lease import AgentsLease, LeaseLostError, Row
from airfleet_provider.contract.text import one_line

log = logging.getLogger(__name__)

# Seconds that a statement may take, if a loop sets no other limit.
STATEMENT_S = 5.0
# A loop that fails again and again waits at most this long.
LONGEST_WAIT_S = 60.0
# A loop that waits at least this long closes its connection, for which PostgreSQL keeps 2 to 3 MiB.
SELDOM_S = 30.0
# A loop that works longer than this, or longer than ten of its intervals, is stuck. Then the process ends.
STUCK_S = 120.0


class TimedConnection(Connection[Row]):
    """A connection that adds up the time of its statements."""

    spent_s = 0.0

    def execute(self, *words: Any, **options: Any) -> Cursor[Row]:  # noqa: ANN401 - the library's own
        """Execute a statement, as the library does."""
        begun = time.perf_counter()
        try:
            return super().execute(*words, **options)
        finally:
            self.spent_s += time.perf_counter() - begun


class Context:
    """What a loop works with: its configuration, its connection, the clock, and whether it may act."""

    def __init__(
        self,
        name: str,
        config: Mapping[str, Any],
        lease: AgentsLease,
        stopping: threading.Event,
        open_connection: Callable[[str], TimedConnection],
    ) -> None:
        self.name = name
        self.config = config
        self.stopping = stopping
        self._lease = lease
        self._open_connection = open_connection
        self._connection: TimedConnection | None = None
        self._spent_s = 0.0

    @property
    def database_s(self) -> float:
        """Return the seconds that statements of this loop took so far."""
        return self._spent_s + (self._connection.spent_s if self._connection else 0.0)

    @property
    def epoch(self) -> int | None:
        """Return the number of this process' term as the active one, or None.

        A loop that keeps facts in memory reads them anew when the number differs from that of its last turn.
        """
        return self._lease.epoch

    @contextmanager
    def read(self, *, timeout_s: float = STATEMENT_S) -> Iterator[Connection[Row]]:
        """Yield a connection in a transaction that cannot write. Each of its statements may take `timeout_s` seconds.

        Raises:
            psycopg.Error: The database does not answer, or a statement failed.
        """
        with self._transaction("BEGIN READ ONLY", timeout_s) as connection:
            yield connection

    @contextmanager
    def write(self, *, timeout_s: float = STATEMENT_S) -> Iterator[Connection[Row]]:
        """Yield a connection in a transaction that is committed at the end, if this process still holds the lease.

        Raises:
            LeaseLostError: Another process is active. Nothing was changed.
            psycopg.Error: The database does not answer, or a statement failed. After a lost connection, the
                transaction may be committed or not: read what matters again.
        """
        epoch = self.epoch
        if epoch is None:
            raise LeaseLostError("this agents process does not hold the lease")
        with self._transaction("BEGIN", timeout_s) as connection:
            self._lease.hold(connection, epoch)
            yield connection

    @contextmanager
    def share(self, *, timeout_s: float = STATEMENT_S) -> Iterator[Connection[Row]]:
        """Yield a connection in a transaction that is committed at the end, on active and standby processes alike.

        Only for statements that any number of processes may execute at once.
        """
        with self._transaction("BEGIN", timeout_s) as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str, timeout_s: float) -> Iterator[Connection[Row]]:
        connection = self._connect()
        limit = int(timeout_s * 1000)
        # One round trip. A pooler may give the session to others, so nothing is set for longer than the transaction.
        connection.execute(
            f"{begin}; SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {limit};"
            f" SET LOCAL idle_in_transaction_session_timeout = {4 * limit}"
        )
        try:
            yield connection
        except BaseException:
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _connect(self) -> Connection[Row]:
        if self._connection is None or self._connection.closed:
            self.disconnect()
            self._connection = self._open_connection(self.name)
        return self._connection

    def disconnect(self) -> None:
        """Close the connection; the next transaction opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._spent_s += connection.spent_s
            with suppress(psycopg.Error):
                connection.close()


@dataclass(frozen=True, slots=True)
class Loop:
    """Work that is done every `every_s` seconds. With `only_active`, only the process that holds the lease does it.

    `once` does one turn. It may raise anything: the error is logged and counted, the connection is closed, and the
    loop tries again later. `finish` is called once when the process stops, after the last turn, and must soon return.
    """

    name: str
    every_s: float
    once: Callable[[Context], None]
    only_active: bool = True
    finish: Callable[[Context], None] | None = None


@dataclass(slots=True)
class LoopState:
    """How a loop does. Moments are of the monotonic clock."""

    since: float
    runs: int = 0
    failures: int = 0
    consecutive: int = 0
    seconds: float = 0.0
    busy_since: float | None = None
    succeeded: float | None = None
    error: str = ""
    is_waiting: bool = False


@dataclass(slots=True)
class LoopThread:
    """One loop at work."""

    loop: Loop
    context: Context
    lease: AgentsLease
    clock: Callable[[], float] = time.monotonic
    state: LoopState = field(init=False)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.state = LoopState(self.clock())
        self.thread = threading.Thread(target=self.run, name=self.loop.name, daemon=True)

    def run(self) -> None:
        """Work until the process stops."""
        stopping = self.context.stopping
        while not stopping.is_set():
            if self.loop.only_active and self.context.epoch is None:
                self.state.is_waiting = True
                self.context.disconnect()
                with self.lease.changed:
                    if self.context.epoch is None:
                        self.lease.changed.wait(1.0)
                continue
            if self.state.is_waiting:
                self.state.is_waiting, self.state.since, self.state.succeeded = False, self.clock(), None
            begun = self.clock()
            self._turn(begun)
            rest_s = self._wait_s(begun)
            if rest_s >= SELDOM_S:
                self.context.disconnect()
            stopping.wait(rest_s)
        if self.loop.finish is not None:
            try:
                self.loop.finish(self.context)
            except Exception as error:
                log.warning("%s: its end failed: %s: %s", self.loop.name, type(error).__name__, error)
        self.context.disconnect()

    def _turn(self, begun: float) -> None:
        state = self.state
        state.busy_since = begun
        try:
            self.loop.once(self.context)
        except LeaseLostError as error:
            log.warning("%s: %s", self.loop.name, error)
        except Exception as error:
            state.failures += 1
            state.consecutive += 1
            text = f"{type(error).__name__}: {one_line(str(error).strip(), 500)}"
            if text != state.error:  # the same error again and again is said once
                is_outage = isinstance(error, psycopg.OperationalError)
                log.warning("%s failed: %s", self.loop.name, text, exc_info=None if is_outage else error)
            state.error = text
            self.context.disconnect()
        else:
            if state.error:
                log.info("%s works again after %d failures", self.loop.name, state.consecutive)
            state.runs += 1
            state.consecutive, state.error, state.succeeded = 0, "", self.clock()
        finally:
            state.busy_since = None
            state.seconds += self.clock() - begun

    def _wait_s(self, begun: float) -> float:
        if not self.state.consecutive:
            return max(0.0, self.loop.every_s - (self.clock() - begun))
        # A loop with a long interval tries again soon, and one that fails for long tries seldom.
        first = min(self.loop.every_s, 5.0)
        return float(min(first * 2 ** min(self.state.consecutive - 1, 10), LONGEST_WAIT_S))

    def find_fault(self) -> str:
        """Return why the process must be restarted, or "" if the loop is well. A loop that fails and tries is well."""
        if not self.thread.is_alive() and not self.context.stopping.is_set():
            return f"{self.loop.name} has ended"
        busy = self.state.busy_since
        limit = max(STUCK_S, 10 * self.loop.every_s)
        if busy is not None and self.clock() - busy > limit:
            return f"{self.loop.name} has not come back for {self.clock() - busy:.0f} s"
        return ""

    def read_age(self) -> float:
        """Return the seconds since the loop last succeeded, or since it began if it has not succeeded yet."""
        return self.clock() - (self.state.succeeded if self.state.succeeded is not None else self.state.since)


def connect(database: Mapping[str, Any], name: str) -> TimedConnection:
    """Open a connection in autocommit mode. It prepares no statement, as a pooler may be in between.

    Raises:
        psycopg.OperationalError: The database does not answer.
    """
    return TimedConnection.connect(
        **database,
        application_name=f"airfleet agents {name}",
        autocommit=True,
        prepare_threshold=None,
        row_factory=dict_row,
    )
