"""Change every host of a fleet to what fleet.yaml says: the phases of an apply, and the steps of rotations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from airfleet.errors import AirfleetError
from airfleet.operations.session import FleetSession
from airfleet.peers.findings import refuse
from airfleet.runners.fleet.apply import airflow_archives, debian_packages, removed_hosts
from airfleet.runners.fleet.apply.applier import Applier, ApplyOutcome, StepResult
from airfleet.runners.fleet.apply.removed_hosts import RemovedHosts
from airfleet.runners.fleet.apply.rolling_restart import Rolling
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import steps, waves
from airfleet.runners.fleet.survey import etcd_members, host_survey, outside_health, own_servers
from airfleet.runners.fleet.survey.host_survey import HostView, Survey
from airfleet.runners.fleet.survey.outside_health import HealthObservation
from airfleet.spec.topology import Host
from airfleet.workspace import airflow_version, applied_hosts, credentials
from airfleet_provider.contract import wording

DRAIN_S = 900.0
REST_EVERY_S = 3.0
NOTHING = ApplyOutcome((), (), ())


@dataclass(frozen=True, slots=True)
class PackageSource:
    """The source of Debian packages for the hosts.

    The hosts download packages from their mirrors. If `is_offline`, this machine sends them: from `folder`, or without
    a folder from its own apt.
    """

    is_offline: bool
    folder: Path | None = None


class Apply:
    """One apply. If it is interrupted at any line, the next apply continues from the state of the hosts."""

    def __init__(
        self,
        session: FleetSession,
        known: tuple[Host, ...],
        *,
        source: PackageSource,
        report: Callable[[StepResult], None],
        restart: bool = False,
        drain_s: float = DRAIN_S,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`known` are the hosts of the last apply. With `restart`, every process of Airflow restarts once.

        The apply waits `drain_s` seconds for the tasks of each worker that restarts, and for processes that still use
        former secrets.
        """
        self._session = session
        self._known = known
        self._source = source
        self._report = report
        self._restart = restart
        self._drain_s = drain_s
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._archives: dict[str, Path] = {}
        self._applier: Applier | None = None
        self._is_refused = False
        self.removed = RemovedHosts()
        self.survey = Survey((), ())
        self.outcome = NOTHING
        self.health: tuple[HealthObservation, ...] = ()

    def run(self, *, revoke: bool = False) -> None:
        """Run all phases, and repeat them for each step of a rotation.

        With `revoke`, former values of secrets end at once, even if a running task may still use them.
        """
        self._run_round()
        while not (self.errors or self.outcome.skipped) and self.rotate(at_once=revoke):
            self._begin_round()
            self._run_round()
        for phase in AFTERWARDS:
            phase.run(self)

    @property
    def errors(self) -> tuple[AirfleetError, ...]:
        """Return the errors of hosts that could not be surveyed, and of steps that failed."""
        return (*self.survey.errors, *self.outcome.errors)

    @property
    def draining(self) -> tuple[str, ...]:
        """Return the names of the hosts that still run a worker which fleet.yaml no longer needs there."""
        removals = [done for done in self.outcome.done if isinstance(done.step.action, steps.RemoveService)]
        # A later round may have ended what an earlier one found at work.
        last = {(done.step.host, done.step.what): done.drains for done in removals}
        own = {host.name for host in self._session.spec.fleet.hosts}
        kept = {host for (host, _), drains in last.items() if drains and host in own}
        return tuple(sorted({*kept, *(view.desired.place.host.name for view in self.removed.views)}))

    @property
    def has_changes(self) -> bool:
        """Return whether a host needs a change."""
        return bool(self.survey.steps or self.removed.steps)

    def _run_round(self) -> None:
        for phase in ROUND:
            if not self._is_refused and (self.has_changes or not phase.changes):
                phase.run(self)
        self._remember(removed_hosts.find_left(self._known, self.removed))

    def _begin_round(self) -> None:
        self._session.begin_round()
        self._known = applied_hosts.read(self._session.folder.root)
        self._archives, self._applier, self._restart = {}, None, False

    def _remember(self, others: tuple[Host, ...]) -> None:
        applied_hosts.write(self._session.folder.root, (*self._session.spec.fleet.hosts, *others))

    def _look(self) -> None:
        self.removed, survey = self._session.survey_all(self._known)
        etcd_members.check_new_voters(self._session.spec.fleet, (*survey.views, *self.removed.views))
        self.survey = host_survey.change_steps(survey, waves.add_restarts) if self._restart else survey

    # The phases, in their order.

    def see_hosts(self) -> None:
        """Survey every host, also those that were removed from fleet.yaml, and compute the steps."""
        applied_hosts.check_primary(self._known, self._session.spec.fleet)
        applied_hosts.check_outside(self._session.folder.root, self._session.spec.fleet)
        self._look()

    def check_own_servers(self) -> None:
        """Check the servers that somebody else runs.

        Raises:
            AirfleetError: They lack what the fleet needs. The text lists everything.
        """
        spec = self._session.spec
        found = own_servers.examine(spec.fleet, spec.credentials, (view.connection for view in self.survey.views))
        refuse(found, "a server that somebody else runs", own_servers.WHERE, self._session.notify)

    def take_lease(self) -> None:
        """Take the lease of apply. If another command changed the fleet since the survey, survey it again."""
        name = self._session.spec.fleet.primary.name
        primary = self.survey.find(name)
        if primary is None:
            holds = "the lease of apply" if self._session.spec.fleet.database else "the database and the lease of apply"
            what = f"apply needs this host for any change: it holds {holds}"
            self._add(ApplyOutcome((), (AirfleetError(what, where=name, hint="fix it first"),), self.survey.steps))
            self._is_refused = True
            return
        if not self._session.hold_lease(*self.survey.find_all(self._session.spec.fleet.keepers)):
            self._session.notify("another apply changed this fleet in the meantime: surveying it again")
            self._look()
        # A host is recorded before its first change, so that a later apply can stop it after its removal.
        self._remember(self._known)
        applied_hosts.note_outside(self._session.folder.root, self._session.spec.fleet)
        airflow_version.keep(self._session.folder)

    def clear_removed_hosts(self) -> None:
        """Stop the workers of hosts that were removed from fleet.yaml. Remove the rest when the workers have ended."""
        leaving = removed_hosts.change_steps(self.removed.views, waves.leave_cleanup)
        if not leaving:
            return
        names = ", ".join(view.desired.place.host.name for view in leaving)
        self._session.notify(f"hosts being removed: {names}")

        def make(views: Iterable[HostView]) -> Applier:
            return self._session.applier(views, report=self._report)

        self._add(removed_hosts.drain_and_clear(leaving, make))
        self._look()

    def ship_packages(self) -> None:
        """Build the archives of Airflow that hosts need, and fetch the Debian packages if this machine sends them."""
        if self.survey.steps:
            self._session.notify(summarise(self.survey))
        if self._source.is_offline:
            cache = airflow_archive.find_cache().with_name("packages")
            work = self._session.make_folder()
            shipment = debian_packages.ship(self.survey, self._source.folder, work, cache, self._session.notify)
            self.survey, self._archives = shipment.survey, dict(shipment.archives)
        self._archives |= airflow_archives.build(self.survey, self._session.notify)

    def lay_foundation(self) -> None:
        """Apply the lower stages: databases, brokers, poolers and Airflow's schema."""
        views = host_survey.change_steps(self.survey, waves.leave_cleanup).views
        rolling = Rolling(views, drain_s=self._drain_s, notify=self._session.notify)
        absent = [error.where for error in self.survey.errors]
        self._applier = self._session.applier(
            views, report=self._report, archives=self._archives, absent=absent, rolling=rolling
        )
        self._applier.lay_foundation()

    def start_services(self) -> None:
        """Start and restart Airflow's processes and the balancers. Hosts that serve the same restart one at a time."""
        assert self._applier is not None  # noqa: S101 - the phase before made it
        self._applier.start_services()
        outcome = self._applier.outcome()
        if self._session.is_lost and outcome.skipped and not (self.outcome.errors or outcome.errors):
            where, hint = self._session.spec.fleet.primary.name, "check whether another apply runs, then apply again"
            lost = AirfleetError("the lease of this apply was lost", where=where, hint=hint)
            outcome = ApplyOutcome(outcome.done, (lost,), outcome.skipped)
        self._add(outcome)

    def clean_up(self) -> None:
        """Remove what only former versions used, once nothing of a former version runs on any host.

        The etcd of a host that votes no more is removed here too, once the others have let it go. Where that cannot be
        known, or takes longer than the tasks of a worker are waited for, the next apply does it.
        """
        cleanup = host_survey.change_steps(self.survey, waves.take_cleanup)
        leaving = removed_hosts.change_steps(self.removed.views, waves.take_cleanup)
        views = (*cleanup.views, *leaving)
        planned = tuple(step for view in views for step in view.steps)
        if not planned:
            return
        if (
            self.errors
            or self.outcome.skipped
            or not self._await(
                self._is_all_new,
                while_waiting="waiting for processes of a former version before what only they use is removed",
                given_up="processes of a former version still run; the next apply removes what only they use",
            )
        ):
            self._add(ApplyOutcome((), (), planned))
            return
        if still_voting := etcd_members.find_still_voting(views, self.survey.views):
            self._add(ApplyOutcome((), still_voting, planned))
            return
        done = self._session.applier(views, report=self._report).run()
        if not (done.errors or done.skipped):
            staying = removed_hosts.change_steps(self.removed.views, waves.leave_cleanup)
            self.removed = replace(self.removed, views=staying)
        self._add(done)

    def _is_all_new(self) -> bool:
        """Whether every host answers and is as it should be, and every process of Airflow is of this version."""
        removed, survey = self._survey_apart()
        left = host_survey.change_steps(survey, waves.leave_cleanup).steps
        leaving = removed_hosts.change_steps(removed.views, waves.leave_cleanup)
        if left or survey.errors or leaving or removed.silent:
            return False
        return not any(map(_runs_former_version, self.survey.views))

    def verify(self) -> None:
        """Wait until the fleet is healthy from outside. After errors, check it once without a wait."""
        if self.survey.views:
            patience_s = 0.0 if self.errors else outside_health.PATIENCE_S
            fleet = self._session.spec.fleet
            self.health = outside_health.wait(fleet, self.survey.views, self._clock, patience_s=patience_s)

    def _add(self, more: ApplyOutcome) -> None:
        before = self.outcome
        self.outcome = ApplyOutcome(before.done + more.done, before.errors + more.errors, before.skipped + more.skipped)

    # The rotation of secrets.

    def rotate(self, *, at_once: bool) -> bool:
        """Advance rotations by one step when no process uses earlier secrets, and return whether a step was made.

        The wait for such processes is `drain_s` seconds at most.
        """
        # The rotations as they were when the hosts got their secrets: the hosts do not know of later rotations.
        rotations, folder = self._session.spec.rotations, self._session.folder
        pools = [pool.name for pool in self._session.spec.fleet.pools]
        former = credentials.describe_former(folder, pools)
        if not rotations.is_due(self._now(), at_once=at_once) and not former:
            return False
        if not self._await(
            self._is_at_rest,
            while_waiting="waiting for processes that still use former secrets",
            given_up="some processes still use former secrets; the next apply continues",
        ):
            return False
        for line in rotations.describe(self._now()):
            self._session.notify(f"every host is ready: {line}")
        for line in former:
            self._session.notify(f"no process uses them, so they are revoked: {line}")
        credentials.retire_former(folder, rotations, pools)
        return rotations.advance(self._now(), at_once=at_once) or bool(former)

    def _is_at_rest(self) -> bool:
        """Return whether every host matches fleet.yaml, and each process runs from the present files."""
        removed, survey = self._survey_apart()
        return not (survey.steps or survey.errors or removed.steps)

    def _survey_apart(self) -> tuple[RemovedHosts, Survey]:
        return self._session.survey_all(applied_hosts.read(self._session.folder.root), apart=True)

    def _await(self, is_done: Callable[[], bool], *, while_waiting: str, given_up: str) -> bool:
        """Whether something comes to be within the time that the tasks of a worker are waited for."""
        end, told = self._clock() + self._drain_s, False
        while not is_done():
            if self._clock() >= end:
                self._session.notify(given_up)
                return False
            if not told:
                self._session.notify(while_waiting)
                told = True
            self._sleep(REST_EVERY_S)
        return True


@dataclass(frozen=True, slots=True)
class ApplyPhase:
    """One phase of an apply. A phase that `changes` hosts runs only if a host needs a change."""

    name: str
    run: Callable[[Apply], None]
    changes: bool = True


# The phases that change hosts, in order. They run once for each step of a rotation of secrets.
ROUND = (
    ApplyPhase("survey", Apply.see_hosts, changes=False),
    ApplyPhase("own servers", Apply.check_own_servers),
    ApplyPhase("claim", Apply.take_lease),
    ApplyPhase("leave", Apply.clear_removed_hosts),
    ApplyPhase("ship", Apply.ship_packages),
    ApplyPhase("foundation", Apply.lay_foundation),
    ApplyPhase("services", Apply.start_services),
    ApplyPhase("cleanup", Apply.clean_up),
)
AFTERWARDS = (ApplyPhase("verify", Apply.verify, changes=False),)
PHASES = (*ROUND, *AFTERWARDS)


def _runs_former_version(view: HostView) -> bool:
    """Whether any process of a host was started from other packages of Airflow than those of now."""
    said = view.connection.check(steps.list_running_packages(), what="looking for processes of a former version")
    return bool(set(said.split()) - {view.desired.place.runtime.name})


def summarise(survey: Survey) -> str:
    """Return one line with the number of changes."""
    hosts = {step.host for step in survey.steps}
    every = wording.count(len(survey.views), "host")
    if not survey.steps:
        return f"nothing to do on {every}"
    return f"{wording.count(len(survey.steps), 'change')} on {len(hosts)} of {every}"
