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
from airfleet_provider.scheduler_ha.db_session import Session
from airfleet_provider.scheduler_ha.host import Candidate
from airfleet_provider.scheduler_ha.rules import LeaseRow

KEPT_TENURES = 1000

READ = """
SELECT epoch, holder, requested IS NOT DISTINCT FROM epoch AS requested,
    extract(epoch FROM renewed_at)::float AS renewed
FROM airfleet.lease WHERE name = %(name)s
"""
LOCK = "SELECT pg_try_advisory_lock(%(lock)s) AS locked"
BREAK = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity, airfleet.lease
WHERE lease.name = %(name)s AND extract(epoch FROM renewed_at)::float = %(renewed)s
    -- While a password is exchanged there are two logins, both members of the role that everybody works as.
    AND pg_has_role(usename, current_user, 'MEMBER')
    AND datname = current_database() AND application_name = %(prefix)s || holder
"""
ACQUIRE = """
WITH taken AS (
    UPDATE airfleet.lease SET epoch = epoch + 1, holder = %(holder)s, requested = NULL,
        renewed_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => %(ttl)s)
    WHERE name = %(name)s RETURNING epoch
), ended AS (
    UPDATE airfleet.tenure SET ended_at = clock_timestamp()
    WHERE ended_at IS NULL AND epoch < (SELECT epoch FROM taken)
), pruned AS (
    DELETE FROM airfleet.tenure WHERE epoch < (SELECT epoch FROM taken) - %(kept)s
)
INSERT INTO airfleet.tenure (epoch, seat, holder, machine, session, session_started, why, taken_at)
SELECT epoch, %(seat)s, %(holder)s, %(machine)s, %(session)s, %(started)s, %(why)s, clock_timestamp() FROM taken
RETURNING epoch
"""
RENEW = """
UPDATE airfleet.lease
SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => %(ttl)s)
WHERE name = %(name)s AND epoch = %(epoch)s AND holder = %(holder)s
RETURNING requested IS NOT DISTINCT FROM epoch AS requested
"""
BEGIN = "UPDATE airfleet.tenure SET began_at = clock_timestamp() WHERE epoch = %(epoch)s"
RELEASE = """
WITH released AS (
    UPDATE airfleet.lease SET holder = '', expires_at = clock_timestamp()
    WHERE name = %(name)s AND epoch = %(epoch)s AND holder = %(holder)s RETURNING epoch
)
UPDATE airfleet.tenure SET ended_at = clock_timestamp(), fenced_at = clock_timestamp()
WHERE epoch = (SELECT epoch FROM released)
"""
UNLOCK = "SELECT pg_advisory_unlock(%(lock)s), pg_notify(%(channel)s, 'free')"
# Schedulers of any other epoch, also of one whose successor died before it had ended them.
END_BACKENDS = """
SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity
WHERE pg_has_role(usename, current_user, 'MEMBER') AND datname = current_database()
    AND application_name LIKE %(prefix)s || '%%' AND application_name <> %(prefix)s || %(epoch)s
"""
UNFENCED = """
SELECT epoch, session, session_started FROM airfleet.tenure
WHERE fenced_at IS NULL AND epoch < %(epoch)s AND machine = %(machine)s
"""
FENCED = "UPDATE airfleet.tenure SET fenced_at = clock_timestamp() WHERE fenced_at IS NULL AND epoch < %(epoch)s"
ATTEND = """
INSERT INTO airfleet.seat AS seat (name, holder, host, state) VALUES (%(seat)s, %(holder)s, %(host)s, %(state)s)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, host = excluded.host, state = excluded.state,
    seen_at = clock_timestamp(),
    started_at = CASE WHEN seat.holder = excluded.holder THEN seat.started_at ELSE clock_timestamp() END
"""
LEAVE = "DELETE FROM airfleet.seat WHERE name = %(seat)s AND holder = %(holder)s"

# The names of the two kinds of sessions in pg_stat_activity; statements that end sessions select them by these names.
GUARDIAN = "airfleet guardian "
SCHEDULER = "airfleet scheduler "


class Lease:
    """The lease as one agent uses it, over one session.

    Raises:
        AwayError: from every method, if the database does not answer.
    """

    def __init__(self, session: Session, *, holder: str, place: Candidate, ttl_s: float) -> None:
        self.session = session
        self.locked = False
        self._holder = holder
        self._place = place
        self._ttl_s = ttl_s
        runner.migrate(lambda statement: [tuple(row.values()) for row in session.run(statement)], runner.read_own())
        session.run(f"LISTEN {lease_schema.CHANNEL}")

    def read(self) -> LeaseRow:
        """Return the lease as it is now."""
        (row,) = self.session.run(READ, name=lease_schema.SCHEDULER)
        return LeaseRow(
            epoch=row["epoch"],
            holder=row["holder"],
            renewed=row["renewed"],
            requested=row["requested"],
        )

    def lock(self) -> bool:
        """Try to take the lock; return whether this session owns it, and so may write the lease."""
        if not self.locked:
            self.locked = self.session.run(LOCK, lock=HOLDER_LOCK)[0]["locked"]
        return self.locked

    def break_lock(self, renewed: float) -> None:
        """End the session of a holder that has not renewed the lease since this stamp was read."""
        self.session.run(BREAK, name=lease_schema.SCHEDULER, prefix=GUARDIAN, renewed=renewed)

    def acquire(self, why: str) -> int:
        """Take the lease and return its new epoch, which ends all earlier epochs; the session must own the lock."""
        place = self._place
        (row,) = self.session.run(
            ACQUIRE,
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
        rows = self.session.run(RENEW, name=lease_schema.SCHEDULER, epoch=epoch, holder=self._holder, ttl=self._ttl_s)
        return bool(rows[0]["requested"]) if rows else None

    def end_predecessors(self, epoch: int) -> int:
        """End the database sessions of all other epochs' schedulers; return how many there were."""
        return int(self.session.run(END_BACKENDS, prefix=SCHEDULER, epoch=str(epoch))[0]["ended"])

    def list_unfenced(self, epoch: int) -> list[tuple[int, int]]:
        """Return the process sessions of earlier agents on this machine, and when their leaders started."""
        rows = self.session.run(UNFENCED, epoch=epoch, machine=self._place.machine)
        return [(row["session"], row["session_started"]) for row in rows]

    def note_fenced(self, epoch: int) -> None:
        """Record that no process of the epochs before this one is left."""
        self.session.run(FENCED, epoch=epoch)

    def note_begin(self, epoch: int) -> None:
        """Record that the scheduler of this epoch starts now."""
        self.session.run(BEGIN, epoch=epoch)

    def release(self, epoch: int) -> None:
        """Give up the lease, and wake the agents that wait for it."""
        self.session.run(RELEASE, name=lease_schema.SCHEDULER, epoch=epoch, holder=self._holder)
        self.session.run(UNLOCK, lock=HOLDER_LOCK, channel=lease_schema.CHANNEL)
        self.locked = False

    def attend(self, state: CandidateState) -> None:
        """Record that this agent has the seat, and its state."""
        place = self._place
        self.session.run(ATTEND, seat=place.seat, holder=self._holder, host=place.host, state=state)

    def leave(self) -> None:
        """Record that the seat is empty."""
        self.session.run(LEAVE, seat=self._place.seat, holder=self._holder)

    def close(self) -> None:
        """End the session; the server then releases the lock."""
        self.locked = False
        self.session.close()
