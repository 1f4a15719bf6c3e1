"""The lease in PostgreSQL: the right to schedule, which one agent holds at a time.

Two things make an agent the holder. A row names it, and the agent renews the row all the time. A session lock belongs
to it, and ends with its connection. Only the owner of the lock writes the row. If another agent sees no renewal for
the duration of a lease, by its own clock, it ends the session that owns the lock.

The times in the tables are for people to read. They are times of the database's clock, which may be set, and which is
another host's clock after a promotion.
"""

from __future__ import annotations

from airfleet_provider.contract import lease_schema
from airfleet_provider.contract.lease_schema import CandidateState
from airfleet_provider.contract.locks import HOLDER_LOCK
from airfleet_provider.contract.migrations import runner
from airfleet_provider.contract.statements import Statements
from airfleet_provider.scheduler_ha.db_session import DbSession
from airfleet_provider.scheduler_ha.host import Candidate
from airfleet_provider.scheduler_ha.rules import LeaseRow

SQL = Statements(__package__, "lease")

KEPT_TENURES = 1000


# The names of the two kinds of sessions in pg_stat_activity; statements that end sessions select them by these names.
GUARDIAN = "airfleet guardian "
SCHEDULER = "airfleet scheduler "


class Lease:
    """The lease as one agent uses it, over one session.

    Raises:
        AwayError: from every method, if the database does not answer.
    """

    def __init__(self, session: DbSession, *, holder: str, place: Candidate, ttl_s: float) -> None:
        self.session = session
        self.locked = False
        self._holder = holder
        self._place = place
        self._ttl_s = ttl_s
        runner.migrate(lambda statement: [tuple(row.values()) for row in session.run(statement)], runner.read_own())
        session.run(f"LISTEN {lease_schema.CHANNEL}")

    def read(self) -> LeaseRow:
        """Return the lease as it is now."""
        (row,) = self.session.run(SQL["read"], name=lease_schema.SCHEDULER)
        return LeaseRow(
            epoch=row["epoch"],
            holder=row["holder"],
            renewed=row["renewed"],
            requested=row["requested"],
        )

    def lock(self) -> bool:
        """Try to take the lock; return whether this session owns it, and so may write the lease."""
        if not self.locked:
            self.locked = self.session.run(SQL["lock"], lock=HOLDER_LOCK)[0]["locked"]
        return self.locked

    def break_lock(self, renewed: float) -> None:
        """End the session of a holder that has not renewed the lease since this stamp was read."""
        self.session.run(SQL["break"], name=lease_schema.SCHEDULER, prefix=GUARDIAN, renewed=renewed)

    def acquire(self, why: str) -> int:
        """Take the lease and return its new epoch, which ends all earlier epochs; the session must own the lock."""
        place = self._place
        (row,) = self.session.run(
            SQL["acquire"],
            name=lease_schema.SCHEDULER,
            holder=self._holder,
            ttl=self._ttl_s,
            kept=KEPT_TENURES,
            seat=place.seat,
            machine=place.machine,
            session=place.session,
            started=place.session_started,
            why=why,
        )
        return int(row["epoch"])

    def renew(self, epoch: int) -> bool | None:
        """Renew the lease; return whether a hand-over was requested.

        Returns None if the lease is not ours any more, or if another session owns the lock.
        """
        if not self.lock():
            return None
        rows = self.session.run(
            SQL["renew"], name=lease_schema.SCHEDULER, epoch=epoch, holder=self._holder, ttl=self._ttl_s
        )
        return bool(rows[0]["requested"]) if rows else None

    def end_predecessors(self, epoch: int) -> int:
        """End the database sessions of all other epochs' schedulers; return how many there were."""
        return int(self.session.run(SQL["end_backends"], prefix=SCHEDULER, epoch=str(epoch))[0]["ended"])

    def list_unfenced(self, epoch: int) -> list[tuple[int, int]]:
        """Return the process sessions of earlier agents on this machine, and when their leaders started."""
        rows = self.session.run(SQL["unfenced"], epoch=epoch, machine=self._place.machine)
        return [(row["session"], row["session_started"]) for row in rows]

    def note_fenced(self, epoch: int) -> None:
        """Record that no process of the epochs before this one is left."""
        self.session.run(SQL["fenced"], epoch=epoch)

    def note_begin(self, epoch: int) -> None:
        """Record that the scheduler of this epoch starts now."""
        self.session.run(SQL["begin"], epoch=epoch)

    def release(self, epoch: int) -> None:
        """Give up the lease, and wake the agents that wait for it."""
        self.session.run(SQL["release"], name=lease_schema.SCHEDULER, epoch=epoch, holder=self._holder)
        self.session.run(SQL["unlock"], lock=HOLDER_LOCK, channel=lease_schema.CHANNEL)
        self.locked = False

    def attend(self, state: CandidateState) -> None:
        """Record that this agent has the seat, and its state."""
        place = self._place
        self.session.run(SQL["attend"], seat=place.seat, holder=self._holder, host=place.host, state=state)

    def leave(self) -> None:
        """Record that the seat is empty."""
        self.session.run(SQL["leave"], seat=self._place.seat, holder=self._holder)

    def close(self) -> None:
        """End the session; the server then releases the lock."""
        self.locked = False
        self.session.close()
