"""Promote another database host. The former primary is stopped first if it answers, and does not start again.

Which host is promoted is written down before anything is done to any. Each step may be done again: a run that was cut
off is finished by the next one, with the same host.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from airfleet.components.postgresql.server import ASK_AIRFLOW
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.database import rules
from airfleet.operations.database.observation import ASK, DatabaseHost, build_look, parse
from airfleet.operations.database.rules import Choice
from airfleet.operations.session import FleetSession
from airfleet.runners.fleet.transport.connection import HostError
from airfleet.runners.fleet.transport.shell import HostShell
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host, Promoted
from airfleet.workspace import primary_record
from airfleet.workspace.state_folder import StateFolder

# Disabled, it does not come back at a boot; `apply` enables it again once it is a replica.
UNITS = "airfleet-pgbouncer airfleet-postgresql"
FENCE = f"systemctl disable -q {UNITS}; systemctl stop {UNITS}"
UNFENCE = f"systemctl enable -q {UNITS}; systemctl start {UNITS}"
# A server that starts anew has forgotten that it was asked to become the primary.
FORGET = "systemctl try-restart airfleet-postgresql"
# For so long a replica may still write down what the former primary sent it last.
CATCH_UP_S = 15.0
# It tells clients what the server said of itself at first: that it is a replica, which takes no writes.
OPEN = "systemctl restart airfleet-pgbouncer"


@dataclass(frozen=True, slots=True)
class PromotionResult:
    """A promotion: seconds since it was asked for until it took writes, and until a scheduler worked on it."""

    before: str
    after: str
    fenced: bool
    writes_s: float
    works_s: float


def promote(session: FleetSession, *, to: str | None, lost: bool, timeout_s: float) -> PromotionResult:
    """Make another database host the primary, and wait at most `timeout_s` until a scheduler works on it.

    Raises AirfleetError where that may lose what was confirmed, unless `lost` says that losses are accepted.
    """
    fleet = session.fleet
    shells = session.open_shells(fleet.with_role("database"))
    session.hold_every_lease(shells)
    return Promotion(fleet, session.folder, shells, notify=session.notify).run(to=to, lost=lost, timeout_s=timeout_s)


class Promotion:
    """Makes another database host the primary of a fleet."""

    def __init__(
        self,
        fleet: Fleet,
        folder: StateFolder,
        shells: Mapping[str, HostShell],
        *,
        notify: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._fleet = fleet
        self._folder = folder
        self._shells = shells
        self._notify = notify
        self._clock = clock
        self._sleep = sleep

    def run(self, *, to: str | None, lost: bool, timeout_s: float) -> PromotionResult:
        """Stop the primary where it answers, promote a replica, and wait until a scheduler works on it."""
        begun = self._clock()
        before = self._fleet.primary
        choice = self._choose(to, lost=lost)
        after = next(host for host in self._fleet.with_role("database") if host.name == choice.target)
        for loss in choice.losses:
            self._notify(f"{after.name} continues without the data it lacks: {loss}")
        if choice.gives_up:
            self._give_up(choice.gives_up, after, lost=lost)
            fenced = True
        elif after == before:
            self._notify(f"{after.name} is already the primary: an earlier run was interrupted after the promotion")
            fenced = True
        else:
            fenced = self._move(before, after, choice, lost=lost)
        writes_s = self._clock() - begun
        self._notify(f"{after.name} takes writes after {writes_s:.1f} s")
        try:
            self._await_work(after, begun + timeout_s)
            # The control file tells of a promotion from the next checkpoint on, and before that no backup can begin.
            self._ask(after, "CHECKPOINT", "the new primary", timeout_s=300)
        except AirfleetError:
            self._end()
            raise
        self._end()
        return PromotionResult(choice.gives_up or before.name, after.name, fenced, writes_s, self._clock() - begun)

    def _end(self) -> None:
        """The promotion is done; the next one may choose another host."""
        primary_record.write(self._folder, replace(primary_record.read(self._folder), target=""))

    def _move(self, before: Host, after: Host, choice: Choice, *, lost: bool) -> bool:
        """Fence the one and open the other; whether the former primary answered."""
        turn = self._fleet.promoted.turn
        # From here on any later call goes on with this host, whatever happens.
        primary_record.write(self._folder, replace(self._fleet.promoted, target=after.name))
        if choice.is_done:
            self._notify(f"{after.name} already takes writes: an earlier run was interrupted")
        fenced = self._fence(before)
        if not choice.is_done:
            if fenced:
                self._await_all(before, after, lost=lost)
            self._promote(after)
        self._open(after)
        primary_record.write(self._folder, Promoted(after.name, turn + 1, after.name))
        return fenced

    def _choose(self, to: str | None, *, lost: bool) -> Choice:
        hosts = self._fleet.with_role("database")
        if len(hosts) == 1:
            raise UsageError(
                "there is only one database host, so there is no replica to promote",
                where=self._fleet.primary.name,
                hint="give a second host the role `database`, and apply",
            )
        with ThreadPoolExecutor(len(hosts)) as pool:
            seen = {one.name: one for one in pool.map(self._look, hosts)}
        return rules.choose(
            seen,
            primary=self._fleet.primary.name,
            begun=self._fleet.promoted.target,
            to=to,
            lost=lost,
            synchronous=self._fleet.replication == "synchronous",
        )

    def _look(self, host: Host) -> DatabaseHost:
        try:
            done = self._shells[host.name].run(build_look(), timeout_s=20)
        except HostError:
            return DatabaseHost(host.name, "away")
        if done.code:
            said = (done.err.strip().splitlines() or [f"exit code {done.code}"])[-1]
            self._notify(f"{host.name}: PostgreSQL there does not report its position: {said}")
            return DatabaseHost(host.name, "away")
        return parse(host.name, done.out)

    def _fence(self, before: Host) -> bool:
        """Stop the former primary, which first sends all that it wrote; False when it does not answer."""
        try:
            done = self._shells[before.name].run(FENCE, timeout_s=130)
        except HostError:
            self._notify(f"{before.name} does not answer; when it is back, its guard stops PostgreSQL there")
            return False
        if done.code:
            raise HostError(f"PostgreSQL does not stop: {done.err.strip()}", where=before.name, hint="stop it there")
        self._notify(f"{before.name} is stopped and will not start again")
        return True

    def _await_all(self, before: Host, after: Host, *, lost: bool) -> None:
        """Until the replica has all that the former primary wrote, which is started again when that does not come."""
        former = self._look(before)
        deadline = self._clock() + CATCH_UP_S
        while (chosen := self._look(after)).condition == "replica" and chosen.reach < former.reach:
            if self._clock() <= deadline:
                self._sleep(0.2)
                continue
            lag = rules.describe_lag(chosen, former)
            if lost:
                self._notify(f"{after.name} continues without the data it lacks: {lag} of {before.name}")
                return
            self._unfence(before)
            self._end()
            raise AirfleetError(
                f"{after.name} lacks {lag} of what {before.name} has, which is started again",
                where=after.name,
                hint="wait until it has caught up (airfleet status), or add --lost to continue without the data",
            )

    def _give_up(self, target: str, primary: Host, *, lost: bool) -> None:
        """Let the primary go on that a promotion was to replace; the other host stays a replica."""
        self._notify(f"the promotion of {target} is given up; {primary.name} stays the primary")
        # One that fleet.yaml names no more cannot be asked.
        for host in (one for one in self._fleet.with_role("database") if one.name == target):
            try:
                done = self._shells[target].run(FORGET, timeout_s=130)
            except HostError:
                if not lost:
                    raise
                continue
            if done.code:
                hint = f"journalctl -u airfleet-postgresql on it; or turn it off, and add --to {primary.name} --lost"
                raise HostError(f"PostgreSQL does not start: {done.err.strip()}", where=target, hint=hint)
            if self._look(host).condition != "replica":
                hint = f"airfleet failover --database --to {target}"
                raise AirfleetError("it is no longer a replica", where=target, hint=hint)
        self._unfence(primary)

    def _unfence(self, host: Host) -> None:
        done = self._shells[host.name].run(UNFENCE, timeout_s=130)
        if done.code:
            what = f"PostgreSQL does not start again: {done.err.strip()}"
            raise HostError(what, where=host.name, hint="journalctl -u airfleet-postgresql on it")

    def _promote(self, host: Host) -> None:
        # No replica follows it yet, so that a commit which waited for one would wait for ever.
        self._ask(host, "ALTER SYSTEM SET synchronous_standby_names = ''", "the replica")
        self._ask(host, "SELECT pg_reload_conf()", "the replica")
        if self._ask(host, "SELECT pg_promote(true, 60)", "the promotion", timeout_s=90) != "t":
            former = self._fleet.primary.name
            hint = f"journalctl -u airfleet-postgresql on it; `airfleet failover --database --to {former}` gives it up"
            raise HostError("it was not promoted within 60 s", where=host.name, hint=hint)

    def _open(self, host: Host) -> None:
        done = self._shells[host.name].run(OPEN, timeout_s=60)
        if done.code:
            raise HostError(f"PgBouncer does not start: {done.err.strip()}", where=host.name, hint="start it there")

    def _await_work(self, host: Host, deadline: float) -> None:
        """Until a scheduler has a heartbeat that it wrote here."""
        since = self._ask(host, "SELECT clock_timestamp()", "the new primary")
        sql = f"SELECT count(*) FROM job WHERE state = 'running' AND {_beat(since)}"  # noqa: S608 - its own words
        while self._ask(host, sql, "the new primary", psql=ASK_AIRFLOW) == "0":
            if self._clock() > deadline:
                hint = "the promotion itself is done; to see the fleet's state: airfleet status"
                raise AirfleetError("no scheduler works on the new primary yet", where=host.name, hint=hint)
            self._sleep(0.2)

    def _ask(self, host: Host, sql: str, what: str, *, psql: str = ASK, timeout_s: float = 20) -> str:
        done = self._shells[host.name].run(f"{psql} -c {shlex.quote(sql)}", timeout_s=timeout_s)
        if done.code:
            said = (done.err.strip().splitlines() or [f"exit code {done.code}"])[-1]
            raise HostError(f"{what} does not answer: {said}", where=host.name, hint="airfleet status")
        return done.out.strip()


def _beat(since: str) -> str:
    return f"job_type = 'SchedulerJob' AND latest_heartbeat > '{since}'"
