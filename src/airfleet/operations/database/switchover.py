"""Another database host becomes the primary on purpose: Patroni does it, and nothing that was confirmed is lost."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from airfleet.components.postgresql import patroni
from airfleet.components.postgresql.psql import AS_SERVER, build_command
from airfleet.components.postgresql.server import ASK_AIRFLOW
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.database import rules
from airfleet.operations.session import FleetSession
from airfleet.runners.fleet.transport import database_cluster
from airfleet.runners.fleet.transport.connection import HostError
from airfleet.runners.fleet.transport.database_cluster import DatabaseCluster
from airfleet.runners.fleet.transport.shell import Shell
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host, Promoted
from airfleet.workspace import primary_record
from airfleet.workspace.state_folder import StateFolder

ASK = f"{AS_SERVER} {build_command()}"
# A primary that is lost is replaced by itself after so long.
AUTOMATIC_S = patroni.TTL_S + 2 * patroni.LOOP_S + patroni.START_S
SWITCH_S = 60.0


@dataclass(frozen=True, slots=True)
class SwitchoverResult:
    """A switch-over: seconds since it was asked for until the other host took writes, and a scheduler worked on it."""

    before: str
    after: str
    writes_s: float
    works_s: float


def switch_over(session: FleetSession, *, to: str | None, lost: bool, timeout_s: float) -> SwitchoverResult:
    """Make another database host the primary, and wait at most `timeout_s` until a scheduler works on it.

    Raises AirfleetError where that may lose what was confirmed, unless `lost` says that losses are accepted.
    """
    fleet = session.fleet
    shells = session.open_shells(fleet.with_role("database"))
    session.hold_every_lease(shells)
    work = Switchover(fleet, session.folder, shells, notify=session.notify)
    return work.run(to=to, lost=lost, timeout_s=timeout_s)


class Switchover:
    """Makes another database host the primary of a fleet."""

    def __init__(
        self,
        fleet: Fleet,
        folder: StateFolder,
        shells: Mapping[str, Shell],
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

    def run(self, *, to: str | None, lost: bool, timeout_s: float) -> SwitchoverResult:
        """Let Patroni switch over, and wait until a scheduler works on the new primary."""
        if not patroni.is_wanted(self._fleet):
            raise UsageError(
                "there is only one database host, so there is no replica to promote",
                where=self._fleet.primary.name,
                hint="give a second host the role `database`, and apply",
            )
        begun = self._clock()
        cluster = self._look()
        if cluster.leader is None and not lost:
            cluster = self._await_automatic()
            if to in (None, cluster.leader and cluster.leader.name):
                return self._finish(cluster, self._fleet.primary.name, begun, timeout_s)
        before = cluster.leader.name if cluster.leader else self._fleet.primary.name
        synchronous = self._fleet.replication == "synchronous"
        chosen = rules.choose(cluster, to=to, lost=lost, synchronous=synchronous)
        self._notify(f"{chosen.name} takes over from {before}")
        self._ask_any(patroni.switch(before, chosen.name, lost=lost), "the switch-over", SWITCH_S + 30)
        return self._finish(self._await_leader(chosen.name), before, begun, timeout_s)

    def _look(self) -> DatabaseCluster:
        found = database_cluster.look(self._shells.values())
        if found is None:
            raise AirfleetError(
                "Patroni answers on no database host",
                where=self._fleet.primary.name,
                hint="`airfleet status` shows what runs; a fleet of an earlier version needs `airfleet apply` first",
            )
        return found

    def _await_automatic(self) -> DatabaseCluster:
        self._notify("no host takes writes: waiting until Patroni has promoted one by itself")
        end = self._clock() + AUTOMATIC_S
        while (cluster := self._look()).leader is None:
            if self._clock() >= end:
                raise AirfleetError(
                    f"no host takes writes, and Patroni has promoted none within {AUTOMATIC_S:.0f} s",
                    where=self._fleet.primary.name,
                    hint="bring the former primary back; or add --lost to continue without its data",
                )
            self._sleep(1.0)
        return cluster

    def _await_leader(self, name: str) -> DatabaseCluster:
        end = self._clock() + SWITCH_S
        while True:
            cluster = self._look()
            if cluster.leader and cluster.leader.name == name and cluster.leader.is_running:
                return cluster
            if self._clock() >= end:
                raise AirfleetError(
                    f"it does not take writes within {SWITCH_S:.0f} s",
                    where=name,
                    hint="airfleet status shows who does",
                )
            self._sleep(0.2)

    def _finish(self, cluster: DatabaseCluster, before: str, begun: float, timeout_s: float) -> SwitchoverResult:
        leader = cluster.leader
        hosts = self._fleet.with_role("database")
        host = database_cluster.find_host(hosts, leader) if leader else None
        if host is None:
            raise AirfleetError("the primary is no host of fleet.yaml", where=leader.name if leader else "")
        writes_s = self._clock() - begun
        primary_record.write(self._folder, Promoted(host.name, is_led=True))
        self._notify(f"{host.name} takes writes after {writes_s:.1f} s")
        self._await_work(host, begun + timeout_s)
        return SwitchoverResult(before, host.name, writes_s, self._clock() - begun)

    def _ask_any(self, script: str, what: str, timeout_s: float) -> None:
        """Run a script on the first database host that answers."""
        error: AirfleetError | None = None
        for name, shell in self._shells.items():
            try:
                done = shell.run(script, timeout_s=timeout_s)
            except HostError as caught:
                error = caught
                continue
            if done.code == 0:
                return
            said = [line for line in (done.out + done.err).splitlines() if line.strip()]
            raise HostError(f"{what} failed: {said[-1] if said else done.code}", where=name, hint="airfleet status")
        raise error or AirfleetError("no database host answers", where=self._fleet.primary.name)

    def _await_work(self, host: Host, deadline: float) -> None:
        """Until a scheduler has a heartbeat that it wrote here."""
        since = self._ask(host, "SELECT clock_timestamp()", ASK)
        sql = (
            "SELECT count(*) FROM job WHERE state = 'running' AND job_type = 'SchedulerJob'"  # noqa: S608 - its own words
            f" AND latest_heartbeat > '{since}'"
        )
        while self._ask(host, sql, ASK_AIRFLOW) in ("", "0"):
            if self._clock() > deadline:
                hint = "the switch-over itself is done; to see the fleet's state: airfleet status"
                raise AirfleetError("no scheduler works on the new primary yet", where=host.name, hint=hint)
            self._sleep(0.2)

    def _ask(self, host: Host, sql: str, psql: str) -> str:
        done = self._shells[host.name].run(f"{psql} -c {shlex.quote(sql)}", timeout_s=20)
        if done.code:
            said = (done.err.strip().splitlines() or [f"exit code {done.code}"])[-1]
            raise HostError(f"the new primary does not answer: {said}", where=host.name, hint="airfleet status")
        return done.out.strip()
