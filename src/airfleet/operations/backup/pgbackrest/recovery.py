"""Restore the database of a fleet to a moment, and start the fleet on it (ADR 22).

The backup is unpacked while the fleet works. If a restore is interrupted before its data is in place, `airfleet apply`
starts everything on the former data. If it is interrupted later, the next call of the restore must finish it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from airfleet.components.host_model import LIB, Stage
from airfleet.components.postgresql import backups, patroni
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.backup import catalogue
from airfleet.operations.backup.pgbackrest import repository, scripts
from airfleet.operations.backup.pgbackrest.scripts import Order, Situation
from airfleet.operations.session import FleetSession
from airfleet.runners.fleet.apply.applier import StepResult
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.runners.fleet.plan.steps import Bring, RunJob, Step
from airfleet.runners.fleet.survey import host_survey, outside_health
from airfleet.runners.fleet.survey.host_survey import HostView
from airfleet.runners.fleet.transport import detached_script
from airfleet.runners.fleet.transport.connection import HostError

# A restore needs every host with one of these roles: a host that is away would continue with state that was undone.
NEEDED = frozenset({"database", "scheduler", "web"})
UNPACK_S = RECOVER_S = 12 * 3600.0
STOP_S = 300.0


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore would do. `source` names a backup, or the former data that an earlier restore kept."""

    source: str
    to: datetime | None
    situation: Situation
    stops: tuple[str, ...]
    copies: tuple[str, ...]

    @property
    def goes_on(self) -> bool:
        """Return whether the restored data is in place already."""
        return self.situation.has_done(Order("", self.source, self.to).request)

    @property
    def is_undo(self) -> bool:
        """Return whether the plan undoes an earlier restore."""
        return self.source.startswith(scripts.FORMER)


@dataclass(frozen=True, slots=True)
class RestoredFleet:
    """The result of a restore: the backup, the moment, the folder of the former data, and the downtime in seconds."""

    backup: str
    to: datetime | None
    kept: str
    stopped_s: float
    seen: tuple[outside_health.HealthObservation, ...]


class Recovery:
    """The restore of one fleet. Every step may be repeated."""

    def __init__(
        self,
        session: FleetSession,
        *,
        report: Callable[[StepResult], None],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`report` gets the result of each step that starts the fleet again."""
        self._session = session
        self._spec = session.spec
        self._notify = session.notify
        self._report = report
        self._clock = clock
        self._now = now
        self._views: tuple[HostView, ...] = ()

    def look(self, *, name: str | None, to: datetime | None, undo: bool) -> RestorePlan:
        """Plan the restore, and check its conditions. It changes nothing.

        Raises:
            AirfleetError: A host does not answer, there is no room, or there is no such backup or moment.
        """
        survey = self._session.survey(notify=lambda _: None)
        needed = {host.name for host in self._spec.fleet.hosts if NEEDED & set(host.roles)}
        if away := next((error for error in survey.errors if error.where in needed), None):
            hint = "start it, or remove it from fleet.yaml: its processes must not continue with what is undone"
            raise HostError(away.what, where=away.where, hint=hint)
        self._views = survey.views
        primary = self._primary
        said = primary.connection.check(scripts.build_look(), what="checking the data")
        situation = scripts.parse_look(said)
        if situation.is_replica:
            hint = "airfleet failover --database makes a replica the primary"
            raise AirfleetError("this host holds a replica, not the primary", where=self._name(primary), hint=hint)
        source = self._choose(situation, name=name, to=to, undo=undo)
        if situation.free < situation.size and not situation.is_exchanged:
            needs = f"{situation.size >> 20} MiB are needed, {situation.free >> 20} are free"
            what = f"there is no room to restore beside the present data: {needs}"
            raise AirfleetError(what, where=self._name(primary), hint=f"look at {backups.DATA.parent} there")
        if to and to > self._now():
            raise UsageError(f"{to:%Y-%m-%d %H:%M:%S} UTC lies ahead", hint="--to latest restores all that is archived")
        replicas = tuple(
            host.name for host in self._spec.fleet.with_role("database") if host != primary.desired.place.host
        )
        return RestorePlan(
            source, to, situation, tuple(self._name(view) for view in self._views if list_units(view.desired)), replicas
        )

    def _choose(self, situation: Situation, *, name: str | None, to: datetime | None, undo: bool) -> str:
        where = self._name(self._primary)
        if not undo:
            known = repository.list_backups(self._primary.connection, where)
            return catalogue.choose(known, name=name, to=to).name
        if situation.request.startswith(scripts.FORMER) and situation.has_done(situation.request):
            return situation.request.split()[0]
        if not situation.former:
            raise UsageError("no restore has kept anything aside", where=where, hint="airfleet db restore --to")
        return situation.former[-1]

    def run(self, plan: RestorePlan) -> RestoredFleet:
        """Carry out the plan.

        Raises:
            AirfleetError: The moment cannot be reached. Then the fleet works on the former data as before.
        """
        self._session.hold_lease(*(view for view in self._views if "database" in view.desired.place.host.roles))
        if plan.goes_on:
            self._notify("the data is in its place already: an earlier restore was interrupted after that")
            begun, name, reached = self._clock(), plan.situation.name, plan.to
        else:
            order = Order(self._now().strftime(catalogue.STAMP), plan.source, plan.to)
            name = order.name
            self._unpack(order, is_undo=plan.is_undo)
            begun = self._clock()
            self._stop()
            reached = self._recover(order)
        if patroni.is_wanted(self._spec.fleet):
            self._do(self._primary, patroni.forget_past(self._primary.desired.place), "forgetting the past", STOP_S)
        self._bring_back()
        stopped_s = self._clock() - begun
        seen = outside_health.wait(self._spec.fleet, self._views, self._clock)
        self._finish()
        return RestoredFleet(plan.source, plan.to or reached, f"{LIB}/{scripts.FORMER}{name}", stopped_s, seen)

    @property
    def _primary(self) -> HostView:
        wanted = self._spec.fleet.primary
        return next(view for view in self._views if view.desired.place.host == wanted)

    @staticmethod
    def _name(view: HostView) -> str:
        return view.desired.place.host.name

    def _unpack(self, order: Order, *, is_undo: bool) -> None:
        verb, make = ("copying", scripts.copy_former) if is_undo else ("unpacking", scripts.unpack)
        self._notify(f"{verb} {order.backup} beside the present data; the fleet works on meanwhile")
        self._do(self._primary, make(order), f"{verb} {order.backup}", UNPACK_S)

    def _stop(self) -> None:
        self._session.require_lease()
        self._notify("stopping schedulers, APIs and the database; running tasks wait")
        replicas = [view for view in self._views if self._is_replica(view)]
        others = [
            view for view in self._views if "database" not in view.desired.place.host.roles and list_units(view.desired)
        ]
        # The database stops last, so that the other processes can record their end in it. The primary stops after its
        # replicas, so that none of them is promoted.
        for views in (others, replicas, [self._primary]):
            with ThreadPoolExecutor(max(1, len(views))) as pool:
                list(pool.map(self._fence, views))

    def _fence(self, view: HostView) -> None:
        script = scripts.fence(list_units(view.desired), is_replica=self._is_replica(view))
        self._do(view, script, "stopping what works on the database", STOP_S)

    def _is_replica(self, view: HostView) -> bool:
        host = view.desired.place.host
        return "database" in host.roles and host != self._spec.fleet.primary

    def _recover(self, order: Order) -> datetime:
        self._notify(f"recovering {f'to {order.to:%Y-%m-%d %H:%M:%S} UTC' if order.to else 'all that was archived'}")
        place = self._primary.desired.place
        bin_ = f"/usr/lib/postgresql/{place.machine.system.postgresql}/bin"
        script = scripts.recover(order, bin_, "/etc/airfleet/postgresql/postgresql.conf", place.machine.system.python)
        try:
            said = self._do(self._primary, script, "the recovery", RECOVER_S)
        except HostError as error:
            if self._is_exchanged(order):
                raise
            self._notify("nothing was changed: everything is started on the former data")
            self._bring_back()
            raise HostError(error.what, where=error.where, hint=f"all that was said: {scripts.LOG} there") from error
        return datetime.fromtimestamp(float(said.split()[0]), UTC)

    def _is_exchanged(self, order: Order) -> bool:
        said = self._primary.connection.check(scripts.build_look(), what="checking the data")
        found = scripts.parse_look(said)
        return found.is_exchanged and found.name == order.name

    def _bring_back(self) -> None:
        """Start the services that do not run, and repeat the jobs that write content of fleet.yaml to the database."""
        self._session.require_lease()
        self._notify("bringing the fleet back")
        survey = host_survey.change_steps(
            self._session.survey(),
            lambda _, steps: tuple(filter(brings_back, steps)),
        )
        absent = [error.where for error in survey.errors]
        outcome = self._session.applier(survey.views, report=self._report, absent=absent).run()
        self._views = survey.views
        for error in outcome.errors:
            raise HostError(error.what, where=error.where, hint="fix it, then restore again: it continues from here")

    def _finish(self) -> None:
        for view in self._views:
            if "database" in view.desired.place.host.roles:
                self._do(view, scripts.finish(), "forgetting the restore", STOP_S)

    def _do(self, view: HostView, script: str, what: str, timeout_s: float) -> str:
        wait_s = timeout_s + detached_script.WAIT_S
        done = view.connection.run(detached_script.wrap(script), timeout_s=wait_s)
        if done.code:
            raise repository.explain(done, what, self._name(view))
        return done.out


def list_units(desired: DesiredHost) -> tuple[str, ...]:
    """Return the units of a host that use the database: every process of Airflow but the workers, which only wait."""
    return tuple(
        service.unit
        for service in desired.services
        if service.command[0].startswith(str(desired.place.runtime)) and service.stage in (Stage.API, Stage.CONTROL)
    )


def brings_back(step: Step) -> bool:
    """Return whether a step of `apply` is part of a restore. Other steps wait for the next apply."""
    match step.action:
        case Bring(_, how):
            return how == "start"
        case RunJob(job):
            return job.name in scripts.JOBS
        case _:
            return False
