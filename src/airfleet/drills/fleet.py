"""The fleet of a drill: its hosts by component, its active scheduler, its releases, and the terms of the lease."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from airfleet.drills.catalogue import Target
from airfleet.drills.injector import ShellInjector, check, on_each
from airfleet.drills.load import REMOVE, STORE, Load, render_project
from airfleet.drills.operator_actions import OperatorInjector, Poller, find_page, run_command
from airfleet.drills.outcome import DrillEvent
from airfleet.drills.runner import Runner
from airfleet.errors import AirfleetError
from airfleet.operations.scheduler_handover import SchedulerHandover
from airfleet.releases import manifest
from airfleet.releases.repository import Repository
from airfleet.runners.fleet.transport import database_cluster, tunnel
from airfleet.runners.fleet.transport.shell import HostShell
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret
from airfleet.spec.topology import Role
from airfleet.workspace import airflow_version
from airfleet.workspace.project import find_state
from airfleet_provider.contract import release_archive
from airfleet_provider.contract.release_schema import DeploymentAction, DeploymentState

ROLES: Mapping[Target, Role] = {
    "scheduler": "scheduler",
    "worker": "worker",
    "api-server": "web",
    "balancer": "balancer",
    "broker": "broker",
    "database": "database",
}
# Workers may write to this folder only. It survives a boot.
LEDGER = "/var/lib/airfleet/worker/drill"
# The detail of the deployment of a drill's load. After a drill was killed, the next one reads it.
DRILL = "drill"
NOTHING = release_archive.Tree(())
_TENURES: LiteralString = """
SELECT seat, extract(epoch FROM began_at)::float AS began, extract(epoch FROM ended_at)::float AS ended,
    extract(epoch FROM clock_timestamp())::float AS now
FROM airfleet.tenure WHERE began_at IS NOT NULL ORDER BY epoch
"""


@dataclass(frozen=True, slots=True)
class SchedulerTerm:
    """One term of the scheduler lease. `ended` is None if its end was not recorded."""

    candidate: str
    began: float
    ended: float | None


@dataclass(slots=True)
class FleetPlatform:
    """One fleet. Its load is a release with the live Dags and the drill's Dags."""

    fleet: Fleet
    project: Path
    database: Secret
    actor: str
    clock: Callable[[], float]
    name: str = "airfleet"
    state: Path | None = None
    list_broken: Callable[[], tuple[str, ...]] = tuple
    follow: Callable[[], Secret] | None = None

    def find_hosts(self, component: Target) -> Sequence[str]:
        """Return the hosts that run a component, the most important first."""
        hosts = self.fleet.with_role(ROLES[component])
        if component == "database" and hosts:
            primary = database_cluster.refresh(self.fleet, find_state(self.project, self.state), self.project).primary
            hosts = (primary, *(host for host in hosts if host != primary))
        return tuple(host.name for host in hosts)

    def find_active_scheduler(self) -> str:
        """Return the host whose scheduler holds the lease. With one scheduler, or active-active, return the first host.

        Raises:
            AirfleetError: No scheduler is active.
        """
        hosts = self.find_hosts("scheduler")
        if len(hosts) == 1 or self.fleet.scheduler_mode != "active-standby":
            return hosts[0]
        active = next((one for one in SchedulerHandover(self.database).list_candidates() if one.active), None)
        if active is None:
            raise AirfleetError("no scheduler is active now", hint="`airfleet status`; a drill needs a whole fleet")
        return active.name

    def deploy(self, load: Load) -> None:
        """Make a release live that has the live Dags and the load. It is not watched, because a drill makes tasks fail.

        The deployment records the earlier release before it goes live. So the next drill finds the earlier release even
        if this drill is killed.
        """
        self._store(STORE, load)
        releases = self._releases
        latest = releases.find_latest()
        before = latest and (latest.detail[DRILL]["before"] if DRILL in latest.detail else latest.release)
        tree, contents = releases.read_files(before) if before else (NOTHING, {})
        more = {name: text.encode() for name, text in render_project(load).items()}
        release = self._save(*release_archive.overlay(tree, contents, more), "the load of a drill")
        self._make_live(
            DeploymentAction.PROMOTE, release, "a drill begins", drill={"load": load.prefix, "before": before}
        )

    def withdraw(self, load: Load) -> None:
        """Make the earlier release live again, or a release without Dags if there was none.

        If a user deployed a release meanwhile, that one stays live.
        """
        self._find_database()  # the drill may have been the loss of the primary, or a switch-over
        self._store(REMOVE, load)
        latest = self._releases.find_latest()
        if latest is None or latest.detail.get(DRILL, {}).get("load") != load.prefix:
            return
        if before := latest.detail[DRILL]["before"]:
            self._make_live(DeploymentAction.ROLLBACK, before, "a drill is over")
        else:
            nothing = self._save(*release_archive.overlay(NOTHING, {}, {}), "after a drill")
            self._make_live(DeploymentAction.PROMOTE, nothing, "a drill is over")

    def _store(self, statements: Sequence[LiteralString], load: Load) -> None:
        """Store or delete the variable and the connection that the tasks of the load look up."""
        try:
            with psycopg.connect(self.database.reveal(), connect_timeout=10) as connection:
                for statement in statements:
                    connection.execute(statement, {"name": load.prefix, "secret": load.secret})
        except psycopg.Error as error:
            raise AirfleetError(f"the metadata database does not answer: {error}") from error

    def operate(self, words: Sequence[str]) -> None:
        """Run one of airfleet's commands. Afterwards the database may be on another host."""
        run_command(words, self.project, self.state)
        self._find_database()

    def observe(self, began: float, ended: float) -> tuple[Sequence[DrillEvent], Sequence[str]]:
        """Return the changes of the active scheduler, and broken promises: two active schedulers, failed requests."""
        if not self.fleet.with_role("scheduler")[1:] or self.fleet.scheduler_mode != "active-standby":
            return (), self.list_broken()
        terms = self._read_terms()
        events = [DrillEvent(one.began, "seen", "works", one.candidate) for one in terms if began <= one.began <= ended]
        return events, (*find_overlaps(terms, began, ended), *self.list_broken())

    def _find_database(self) -> None:
        if self.follow:
            self.database = self.follow()

    @property
    def _releases(self) -> Repository:
        return Repository(self.database, self.fleet.name, start="airfleet apply")

    def _save(self, tree: release_archive.Tree, contents: Mapping[str, bytes], message: str) -> str:
        version = airflow_version.read(find_state(self.project, self.state)).version
        made = manifest.describe(tree, commit=None, actor=self.actor, message=message, airflow=version, python="")
        self._releases.save(made, release_archive.pack(tree, contents), self.fleet.releases.store)
        return tree.id

    def _make_live(self, action: DeploymentAction, release: str, reason: str, **more: object) -> None:
        releases, policy = self._releases, replace(self.fleet.releases, watch_seconds=0)
        number = releases.request(action, release, actor=self.actor, reason=reason, policy=policy, **more)
        ended = releases.wait(number, lambda _: None)
        if ended.state == DeploymentState.FAILED:
            message = ended.verdict or str(ended.detail.get("message", "it failed"))
            raise AirfleetError(message, where=release, hint="airfleet release list")

    def _read_terms(self) -> list[SchedulerTerm]:
        """Return all terms of the lease, in the drill's clock."""
        try:
            with psycopg.connect(self.database.reveal(), connect_timeout=10, row_factory=dict_row) as connection:
                rows: list[dict[str, Any]] = connection.execute(_TENURES).fetchall()
        except psycopg.Error as error:
            raise AirfleetError(f"the metadata database does not answer: {error}") from error
        ahead = rows[0]["now"] - self.clock() if rows else 0.0
        return [
            SchedulerTerm(row["seat"], row["began"] - ahead, None if row["ended"] is None else row["ended"] - ahead)
            for row in rows
        ]


def prepare(
    stack: ExitStack, fleet: Fleet, project: Path, state: Path | None, actor: str, notify: Callable[[str], None]
) -> Runner:
    """Prepare the runner of drills for a fleet. Its connections stay open as long as the stack.

    Raises:
        AirfleetError: A host does not answer.
    """
    shells = {host.name: HostShell(host, project) for host in fleet.hosts}
    for shell in shells.values():
        stack.callback(shell.close)
    on_each(lambda host: check(shells[host], "true", host, "a look"), tuple(shells))
    database = stack.enter_context(tunnel.open_database(fleet, project, state))
    injector = OperatorInjector(ShellInjector(shells), project, state, Poller(find_page(fleet)), notify)
    platform = FleetPlatform(
        fleet,
        project,
        database,
        actor,
        time.time,
        state=state,
        list_broken=injector.list_broken,
        follow=lambda: stack.enter_context(tunnel.open_database(fleet, project, state)),
    )
    workers = {name: shells[name] for name in platform.find_hosts("worker")}
    return Runner(platform, injector, workers, notify)


def find_overlaps(terms: Sequence[SchedulerTerm], began: float, ended: float) -> tuple[str, ...]:
    """Return a line for each term in a time span that began before the earlier term had ended."""
    found = []
    for index, later in enumerate(terms):
        for earlier in terms[:index]:
            if began <= later.began <= ended and earlier.ended is not None and earlier.ended > later.began:
                seconds = earlier.ended - later.began
                found.append(
                    f"two schedulers worked at once for {seconds:.1f} s: {earlier.candidate} and {later.candidate}"
                )
    return tuple(found)
