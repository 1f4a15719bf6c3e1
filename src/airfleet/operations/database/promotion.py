"""Promote another database host (ADR 17). If the former primary answers, it is stopped first and does not start again.

The target is recorded before the first change of any host. Every step may be repeated. The next run finishes an
interrupted run with the same target.
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

# A disabled unit does not start at a boot. `apply` enables the units again when the host is a replica.
UNITS = "airfleet-pgbouncer airfleet-postgresql"
FENCE = f"systemctl disable -q {UNITS}; systemctl stop {UNITS}"
UNFENCE = f"systemctl enable -q {UNITS}; systemctl start {UNITS}"
# After a restart, a server has forgotten the request to become the primary.
FORGET = "systemctl try-restart airfleet-postgresql"
# Seconds in which a replica may still write the last WAL of the former primary.
CATCH_UP_S = 15.0
# PgBouncer caches what the server first reported: that it is a replica and accepts no writes. A restart ends that.
OPEN = "systemctl restart airfleet-pgbouncer"


@dataclass(frozen=True, slots=True)
class PromotionResult:
    """The result of a promotion. Times are seconds from the request until the new primary accepted writes (`writes_s`)
    and until a scheduler worked on it (`works_s`). `fenced` says whether the former primary answered and was stopped.
    """

    before: str
    after: str
    fenced: bool
    writes_s: float
    works_s: float


def promote(session: FleetSession, *, to: str | None, lost: bool, timeout_s: float) -> PromotionResult:
    """Make another database host the primary, and wait at most `timeout_s` until a scheduler works on it.

    Raises:
        AirfleetError: The promotion may lose confirmed data and `lost` does not accept that, or a step fails.
    """
    fleet = session.fleet
    shells = session.open_shells(fleet.with_role("database"))
    session.hold_every_lease(shells)
    return Promotion(fleet, session.folder, shells, notify=session.notify).run(to=to, lost=lost, timeout_s=timeout_s)


class Promotion:
    """The promotion of another database host of a fleet."""

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
        """Stop the primary if it answers, promote a replica, and wait until a scheduler works on it."""
        begun = self._clock()
        before = self._fleet.primary
        choice = self._choose(to, lost=lost)
        after = next(host for host in self._fleet.with_role("database") if host.name == choice.target)
        for loss in choice.losses:
            self._notify(f"{after.name} becomes the primary without this data: {loss}")
        if choice.gives_up:
            self._give_up(choice.gives_up, after, lost=lost)
            fenced = True
        elif after == before:
            self._notify(f"{after.name} is already the primary: an earlier run was interrupted after the promotion")
            fenced = True
        else:
            fenced = self._move(before, after, choice, lost=lost)
        writes_s = self._clock() - begun
        self._notify(f"{after.name} accepts writes after {writes_s:.1f} s")
        try:
            self._await_work(after, begun + timeout_s)
            # The control file shows a promotion from the next checkpoint on. Before that, no backup can start.
            self._ask(after, "CHECKPOINT", "the new primary", timeout_s=300)
        except AirfleetError:
            self._end()
            raise
        self._end()
        return PromotionResult(choice.gives_up or before.name, after.name, fenced, writes_s, self._clock() - begun)

    def _end(self) -> None:
        """Record that the promotion is finished, so that the next one may choose another host."""
        primary_record.write(self._folder, replace(primary_record.read(self._folder), target=""))

    def _move(self, before: Host, after: Host, choice: Choice, *, lost: bool) -> bool:
        """Stop the former primary and promote the other host. Return whether the former primary answered."""
        turn = self._fleet.promoted.turn
        # After this record, every later call continues with this host.
        primary_record.write(self._folder, replace(self._fleet.promoted, target=after.name))
        if choice.is_done:
            self._notify(f"{after.name} already accepts writes: an earlier run was interrupted")
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
        """Stop the former primary, which first sends its last WAL. Return False if it does not answer."""
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
        """Wait until the replica has all WAL of the former primary. If that fails, start the former primary again.

        Raises:
            AirfleetError: The replica lacks WAL and `lost` does not accept that.
        """
        former = self._look(before)
        deadline = self._clock() + CATCH_UP_S
        while (chosen := self._look(after)).condition == "replica" and chosen.reach < former.reach:
            if self._clock() <= deadline:
                self._sleep(0.2)
                continue
            lag = rules.describe_lag(chosen, former)
            if lost:
                self._notify(f"{after.name} becomes the primary without this data: {lag} of {before.name}")
                return
            self._unfence(before)
            self._end()
            raise AirfleetError(
                f"{after.name} lacks {lag} of what {before.name} has, which is started again",
                where=after.name,
                hint="wait until it has caught up (airfleet status), or add --lost to continue without the data",
            )

    def _give_up(self, target: str, primary: Host, *, lost: bool) -> None:
        """Give up a promotion: the primary that it was to replace continues, and the other host stays a replica."""
        self._notify(f"the promotion of {target} is given up; {primary.name} stays the primary")
        # A host that fleet.yaml no longer names has no shell.
        for host in (one for one in self._fleet.with_role("database") if one.name == target):
            try:
                done = self._shells[target].run(FORGET, timeout_s=130)
            except HostError:
                if not lost:
                    raise
                continue
            if done.code:
                hint = f"airfleet logs postgresql --host {target}; or turn it off, and add --to {primary.name} --lost"
                raise HostError(f"PostgreSQL does not start: {done.err.strip()}", where=target, hint=hint)
            if self._look(host).condition != "replica":
                hint = f"airfleet failover --database --to {target}"
                raise AirfleetError("it is no longer a replica", where=target, hint=hint)
        self._unfence(primary)

    def _unfence(self, host: Host) -> None:
        done = self._shells[host.name].run(UNFENCE, timeout_s=130)
        if done.code:
            what = f"PostgreSQL does not start again: {done.err.strip()}"
            raise HostError(what, where=host.name, hint=f"airfleet logs postgresql --host {host.name}")

    def _promote(self, host: Host) -> None:
        # No replica follows the new primary yet, so a synchronous commit would wait for ever.
        self._ask(host, "ALTER SYSTEM SET synchronous_standby_names = ''", "the replica")
        self._ask(host, "SELECT pg_reload_conf()", "the replica")
        if self._ask(host, "SELECT pg_promote(true, 60)", "the promotion", timeout_s=90) != "t":
            former = self._fleet.primary.name
            logs = f"airfleet logs postgresql --host {host.name}"
            hint = f"{logs}; `airfleet failover --database --to {former}` gives the promotion up"
            raise HostError("it was not promoted within 60 s", where=host.name, hint=hint)

    def _open(self, host: Host) -> None:
        done = self._shells[host.name].run(OPEN, timeout_s=60)
        if done.code:
            raise HostError(f"PgBouncer does not start: {done.err.strip()}", where=host.name, hint="start it there")

    def _await_work(self, host: Host, deadline: float) -> None:
        """Wait until a scheduler has written a heartbeat to the new primary."""
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
