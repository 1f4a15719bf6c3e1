"""Make every host of a fleet what fleet.yaml says: the phases of an apply, and the rounds of a rotation of secrets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from airfleet.errors import AirfleetError
from airfleet.operations.session import FleetSession
from airfleet.runners.fleet.apply import airflow_archives, debian_packages, removed_hosts
from airfleet.runners.fleet.apply.applier import Applier, ApplyOutcome, StepResult
from airfleet.runners.fleet.apply.removed_hosts import RemovedHosts
from airfleet.runners.fleet.apply.rolling_restart import Rolling
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import waves
from airfleet.runners.fleet.survey import host_survey, outside_health
from airfleet.runners.fleet.survey.host_survey import HostView, Survey
from airfleet.runners.fleet.survey.outside_health import Observation
from airfleet.spec.topology import Host
from airfleet.workspace import airflow_version, applied_hosts, credentials

DRAIN_S = 900.0
REST_EVERY_S = 3.0
NOTHING = ApplyOutcome((), (), ())


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Where hosts get their Debian packages: from their mirrors, or from this machine, by apt or out of a folder."""

    is_offline: bool
    folder: Path | None = None


class Apply:
    """One apply. Whatever cuts it off, the next one goes on from what the hosts are then."""

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
        """`known` are the hosts of the last apply; with `restart` every process of Airflow restarts once.

        `drain_s` seconds are waited for the tasks of each worker that restarts, and for what works with former secrets.
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
        self.health: tuple[Observation, ...] = ()

    def run(self, *, revoke: bool = False) -> None:
        """All phases, again for each step of a rotation; `revoke` ends former values that a task may still carry."""
        self._run_round()
        while not (self.errors or self.outcome.skipped) and self.rotate(at_once=revoke):
            self._begin_round()
            self._run_round()
        for phase in AFTERWARDS:
            phase.run(self)

    @property
    def errors(self) -> tuple[AirfleetError, ...]:
        """Why some hosts could not be looked at, and what failed on others."""
        return (*self.survey.errors, *self.outcome.errors)

    @property
    def has_changes(self) -> bool:
        """Whether anything is left to do."""
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
        self.survey = host_survey.change_steps(survey, waves.add_restarts) if self._restart else survey

    # The phases, in their order.

    def see_hosts(self) -> None:
        """See how every host stands and what has to change there, hosts that left fleet.yaml among them."""
        applied_hosts.check_primary(self._known, self._session.spec.fleet)
        self._look()

    def take_lease(self) -> None:
        """Keep all others from changing the fleet; look again where somebody did since the survey."""
        name = self._session.spec.fleet.primary.name
        primary = self.survey.find(name)
        if primary is None:
            what = "apply needs this host for any change: it holds the database and the lease of apply"
            self._add(ApplyOutcome((), (AirfleetError(what, where=name, hint="fix it first"),), self.survey.steps))
            self._is_refused = True
            return
        if not self._session.hold_lease(primary):
            self._session.notify("another apply changed this fleet in the meantime: surveying it again")
            self._look()
        # A host is remembered before anything is done to it, so that it can be told to stop when it leaves.
        self._remember(self._known)
        airflow_version.keep(self._session.folder)

    def clear_removed_hosts(self) -> None:
        """Stop the workers of hosts that left fleet.yaml, and remove everything else where they have ended."""
        if not self.removed.steps:
            return
        names = ", ".join(view.desired.place.host.name for view in self.removed.views)
        self._session.notify(f"hosts being removed: {names}")

        def make(views: Iterable[HostView]) -> Applier:
            return self._session.applier(views, report=self._report)

        self._add(removed_hosts.drain_and_clear(self.removed.views, make))
        self._look()

    def ship_packages(self) -> None:
        """Bring together what the hosts install: Airflow's archives, and Debian packages where they are sent."""
        if self.survey.steps:
            self._session.notify(summarise(self.survey))
        if self._source.is_offline:
            cache = airflow_archive.find_cache().with_name("packages")
            work = self._session.make_folder()
            shipment = debian_packages.ship(self.survey, self._source.folder, work, cache, self._session.notify)
            self.survey, self._archives = shipment.survey, dict(shipment.archives)
        self._archives |= airflow_archives.build(self.survey, self._session.notify)

    def lay_foundation(self) -> None:
        """Make what all others need: databases, brokers, poolers and Airflow's schema."""
        rolling = Rolling(self.survey.views, drain_s=self._drain_s, notify=self._session.notify)
        absent = [error.where for error in self.survey.errors]
        self._applier = self._session.applier(
            self.survey.views, report=self._report, archives=self._archives, absent=absent, rolling=rolling
        )
        self._applier.lay_foundation()

    def start_services(self) -> None:
        """Start and restart Airflow's processes and what is in front of them, host by host where all serve the same."""
        assert self._applier is not None  # noqa: S101 - the phase before made it
        self._applier.start_services()
        outcome = self._applier.outcome()
        if self._session.is_lost and outcome.skipped and not (self.outcome.errors or outcome.errors):
            where, hint = self._session.spec.fleet.primary.name, "check whether another apply runs, then apply again"
            lost = AirfleetError("the lease of this apply was lost", where=where, hint=hint)
            outcome = ApplyOutcome(outcome.done, (lost,), outcome.skipped)
        self._add(outcome)

    def verify(self) -> None:
        """Wait until the fleet looks healthy to its users; after errors it is looked at once."""
        if self.survey.views:
            patience_s = 0.0 if self.errors else outside_health.PATIENCE_S
            fleet = self._session.spec.fleet
            self.health = outside_health.wait(fleet, self.survey.views, self._clock, patience_s=patience_s)

    def _add(self, more: ApplyOutcome) -> None:
        before = self.outcome
        self.outcome = ApplyOutcome(before.done + more.done, before.errors + more.errors, before.skipped + more.skipped)

    # The rotation of secrets.

    def rotate(self, *, at_once: bool) -> bool:
        """Let the rotation of secrets take its next step, once nothing works with what came before it; whether it did.

        What drains is waited for as long as for any restart.
        """
        # As it was when the hosts were given their secrets: what began since then is known to none of them.
        rotations, folder = self._session.spec.rotations, self._session.folder
        pools = [pool.name for pool in self._session.spec.fleet.pools]
        former = credentials.describe_former(folder, pools)
        if not rotations.is_due(self._now(), at_once=at_once) and not former:
            return False
        end, told = self._clock() + self._drain_s, False
        while not self._is_at_rest():
            if self._clock() >= end:
                self._session.notify("some processes still use former secrets; the next apply continues")
                return False
            if not told:
                self._session.notify("waiting for processes that still use former secrets")
                told = True
            self._sleep(REST_EVERY_S)
        for line in rotations.describe(self._now()):
            self._session.notify(f"every host is ready: {line}")
        for line in former:
            self._session.notify(f"nothing uses them any more, so they are revoked: {line}")
        credentials.retire_former(folder, rotations, pools)
        return rotations.advance(self._now(), at_once=at_once) or bool(former)

    def _is_at_rest(self) -> bool:
        """Whether every host is as it should be, and each process runs from what is there now."""
        removed, survey = self._session.survey_all(applied_hosts.read(self._session.folder.root), apart=True)
        return not (survey.steps or survey.errors or removed.steps)


@dataclass(frozen=True, slots=True)
class ApplyPhase:
    """One phase of an apply; one that `changes` hosts is left out where nothing has to change."""

    name: str
    run: Callable[[Apply], None]
    changes: bool = True


# What happens to hosts, in this order; a rotation of secrets goes through it once for each of its steps.
ROUND = (
    ApplyPhase("survey", Apply.see_hosts, changes=False),
    ApplyPhase("claim", Apply.take_lease),
    ApplyPhase("leave", Apply.clear_removed_hosts),
    ApplyPhase("ship", Apply.ship_packages),
    ApplyPhase("foundation", Apply.lay_foundation),
    ApplyPhase("services", Apply.start_services),
)
AFTERWARDS = (ApplyPhase("verify", Apply.verify, changes=False),)
PHASES = (*ROUND, *AFTERWARDS)


def summarise(survey: Survey) -> str:
    """One line that says how much there is to do."""
    hosts = {step.host for step in survey.steps}
    count = len(survey.views)
    if not survey.steps:
        return f"nothing to do on {count} host{'' if count == 1 else 's'}"
    return f"{len(survey.steps)} changes on {len(hosts)} of {count} hosts"
