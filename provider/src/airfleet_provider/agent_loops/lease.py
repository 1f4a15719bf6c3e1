"""The lease of agents: the right to do what must be done once in the fleet. One agents process holds it at a time.

The lease is a row that its holder renews. PgBouncer's pool of transactions keeps no session lock, so there is none.
Another process takes the lease if the row has not changed for `TTL_S` seconds by its own clock. The holder counts
from before each renewal, so it stops first. A process that the machine suspended in between may go on too long:
therefore each transaction of such work locks the row (`Context.write`), and fails if another process has taken it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from airfleet_provider.contract import lease_schema
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "lease")

TTL_S = 10.0
RENEW_EVERY_S = 2.5
# The holder stops so many seconds before another process may take the lease.
MARGIN_S = 2.0
# A statement that waits longer than this for the database is of no use.
ANSWER_S = 3.0

Row = dict[str, Any]


class LeaseLostError(RuntimeError):
    """Another process has taken the lease, so the transaction must not be committed."""


@dataclass(frozen=True, slots=True)
class LeaseTerm:
    """A term of this process as the holder: its number, and until when it is sure, by the monotonic clock."""

    epoch: int
    sure_until: float


class AgentsLease:
    """The lease as one process sees it. `ask` and `note` are called by one thread; every thread may read `epoch`."""

    def __init__(self, holder: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.holder = holder
        self.changed = threading.Condition()
        self._clock = clock
        self._term: LeaseTerm | None = None
        self._seen: tuple[int, str, float] | None = None
        self._seen_since = float("-inf")

    @property
    def epoch(self) -> int | None:
        """Return the number of this process' term, or None if the process does not hold the lease now."""
        term = self._term
        return term.epoch if term and self._clock() < term.sure_until else None

    def ask(self, connection: Connection[Row]) -> LeaseTerm | None:
        """Renew the lease, or take it if it is free; return the term to `note` once the transaction is committed.

        Raises:
            psycopg.Error: The database does not answer. The present term then ends by itself in time.
        """
        return self._renew(connection, self._term) if self._term is not None else self._try(connection)

    def note(self, term: LeaseTerm | None) -> None:
        """Record what `ask` returned. A term that was not committed must not count: others do not see it."""
        with self.changed:
            was, self._term = self._term, term
            if term is None and was is not None:
                self._seen = None
            if (was.epoch if was else None) != (term.epoch if term else None):
                self.changed.notify_all()

    def release(self, connection: Connection[Row]) -> None:
        """Give up the lease, so that another process takes it at once."""
        term = self._term
        self.note(None)
        if term:
            connection.execute(SQL["release"], self._words(term.epoch))

    def hold(self, connection: Connection[Row], epoch: int) -> None:
        """Keep other processes from taking the lease until the present transaction ends.

        Raises:
            LeaseLostError: Another process has taken it, or this process gave it up.
        """
        if connection.execute(SQL["hold"], self._words(epoch)).fetchone() is None:
            raise LeaseLostError(f"the term {epoch} of this agents process is over")

    def _renew(self, connection: Connection[Row], term: LeaseTerm) -> LeaseTerm | None:
        asked = self._clock()
        row = connection.execute(SQL["renew"], {**self._words(term.epoch), "ttl": TTL_S}).fetchone()
        return LeaseTerm(term.epoch, asked + TTL_S - MARGIN_S) if row else None

    def _try(self, connection: Connection[Row]) -> LeaseTerm | None:
        row = connection.execute(SQL["read"], {"lease": lease_schema.AGENTS}).fetchone()
        if row is None:
            return None
        seen = (row["epoch"], row["holder"], row["renewed"])
        if seen != self._seen:
            self._seen, self._seen_since = seen, self._clock()
        if row["holder"] and self._clock() - self._seen_since < TTL_S:
            return None
        asked = self._clock()
        words = {**self._words(row["epoch"]), "renewed": row["renewed"], "ttl": TTL_S}
        taken = connection.execute(SQL["take"], words).fetchone()
        return LeaseTerm(taken["epoch"], asked + TTL_S - MARGIN_S) if taken else None

    def _words(self, epoch: int) -> Row:
        return {"lease": lease_schema.AGENTS, "epoch": epoch, "holder": self.holder}
