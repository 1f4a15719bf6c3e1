"""Moves the breakers from within the scheduler while no agents process is active, so that none stays open for ever."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from airfleet_provider.agent_loops.lease import LeaseLostError
from airfleet_provider.breakers.loop import BreakerLoop
from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.statements import Statements

log = logging.getLogger("airfleet")

SQL = Statements(__package__, "store")

# Another agents process takes the lease after 10 s. So after this time there is none.
SILENT_S = 60.0
# Between two looks at the lease, and two turns. A turn may hold up the scheduler for a few milliseconds.
EVERY_S = 2.0
# A statement that takes longer fails: tasks are more urgent than breakers.
STATEMENT_MS = 500


class StandIn:
    """Does the turns of the loop of breakers on a connection of the scheduler.

    Each transaction that writes locks the row of the agents' lease, so an agents process that comes back waits for its
    end. Two schedulers may do this at once: a breaker moves once from each of its generations.
    """

    def __init__(self, rules: Sequence[BreakerRule], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._loop = BreakerLoop(rules, prunes=False)
        self._clock = clock
        self._worked_at = float("-inf")
        self._is_needed = False

    def work(self, connection: Any) -> None:  # noqa: ANN401 - a psycopg2 connection in autocommit mode
        """Do a turn if it is time and no agents process is active. Raises what the connection raises."""
        now = self._clock()
        if now - self._worked_at < EVERY_S:
            return
        self._worked_at = now
        is_needed = _Session(connection).execute(SQL["are_agents_silent"], {"after": SILENT_S}).fetchone() is not None
        if is_needed is not self._is_needed:
            who = "No agents process is active: the scheduler" if is_needed else "An agents process is active again: it"
            log.warning("%s moves the circuit breakers", who)
            self._is_needed = is_needed
        if is_needed:
            with suppress(LeaseLostError):  # the agents are back
                self._loop.once(_Context(connection))


class _Session:
    """A psycopg2 connection that executes statements as one of psycopg 3 does, and whose rows are dictionaries."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - as above
        self._connection = connection

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - a cursor
        from psycopg2.extras import RealDictCursor  # noqa: PLC0415 - only a scheduler without agents needs it

        cursor = self._connection.cursor(cursor_factory=RealDictCursor)
        cursor.execute(statement, values)
        return cursor


class _Context:
    """The connection as the loop asks its context for it."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - as above
        self._session = _Session(connection)

    @contextmanager
    def read(self) -> Iterator[Any]:
        with self._transaction("BEGIN READ ONLY") as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Any]:
        with self._transaction("BEGIN") as session:
            if session.execute(SQL["hold_silent_lease"], {"after": SILENT_S}).fetchone() is None:
                raise LeaseLostError("an agents process is active again")
            yield session

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[_Session]:
        limits = f"SET LOCAL statement_timeout = {STATEMENT_MS}; SET LOCAL lock_timeout = {STATEMENT_MS}"
        self._session.execute(f"{begin}; {limits}")
        try:
            yield self._session
        except BaseException:
            self._session.execute("ROLLBACK")
            raise
        self._session.execute("COMMIT")
