"""Move a fleet from one version of Airflow to another (ADR 21). A later call can finish the move or reverse it.

The target is recorded before the first change that affects a process. Every part surveys the hosts and does what is
left. So the next call finishes an interrupted one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from airfleet.components.host_model import OPT, SERVER_USER, Job, Stage
from airfleet.components.hosts import metadata_jobs
from airfleet.components.postgresql.own_server import ask_airflow
from airfleet.errors import AirfleetError
from airfleet.operations.backup.pgbackrest import repository
from airfleet.operations.session import FleetSession
from airfleet.operations.upgrade import move as moves
from airfleet.operations.upgrade import schema
from airfleet.operations.upgrade.move import NOW, VersionMove
from airfleet.runners.fleet.apply import airflow_archives, rolling_restart
from airfleet.runners.fleet.apply.applier import StepResult
from airfleet.runners.fleet.apply.rolling_restart import Rolling
from airfleet.runners.fleet.plan import steps, waves
from airfleet.runners.fleet.survey import host_survey
from airfleet.runners.fleet.survey.host_survey import HostView, Survey
from airfleet.workspace import airflow_version
from airfleet_provider.contract import wording

LOOK_EVERY_S = 1.0
SCHEMA_S = 3600.0
STOP_S = 120.0
Change = Callable[[tuple[steps.Step, ...]], tuple[steps.Step, ...]]


@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """The result of a successful move."""

    before: str
    after: str
    backup: str
    schema_moved: bool
    changes: int
    views: tuple[HostView, ...]


class Upgrade:
    """The upgrade of one fleet."""

    def __init__(
        self,
        session: FleetSession,
        *,
        drain_s: float,
        report: Callable[[StepResult], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """The upgrade waits `drain_s` seconds for the tasks of workers. `report` gets the result of each step."""
        self._session = session
        self._spec = session.spec
        self._folder = session.folder
        self._drain_s = drain_s
        self._tell = session.notify
        self._report = report
        self._clock = clock
        self._sleep = sleep
        self._changes = 0
        # The units that `_pause` stopped, by host, and the schema at that time.
        self._stopped: dict[str, tuple[HostView, list[str]]] = {}
        self._paused_schema: frozenset[schema.Revision] = frozenset()

    def look(self, move: VersionMove) -> Survey:
        """Survey the fleet for a move. It changes nothing.

        Raises:
            AirfleetError: A host does not answer, or the fleet does not match fleet.yaml.
        """
        if not move.is_begun:
            now = self._survey(VersionMove(move.before, move.before))
            if now.steps:
                raise AirfleetError(
                    f"this fleet does not match fleet.yaml: apply {wording.count(len(now.steps), 'change')} first",
                    where=self._spec.fleet.name,
                    hint="run airfleet plan, then airfleet apply; an upgrade changes only the version",
                )
        return self._survey(move)

    def run(self, move: VersionMove, survey: Survey) -> UpgradeResult:
        """Make the move, or what is left of it.

        Raises:
            AirfleetError: A step fails. The error says whether the fleet keeps working or is stopped.
        """
        try:
            return self._run(move, survey)
        except AirfleetError as error:
            state = self._go_on_as_before(survey)
            raise AirfleetError(f"{error.what}; {state}", where=error.where, hint=error.hint) from error

    def _run(self, move: VersionMove, survey: Survey) -> UpgradeResult:
        primary = _find(survey, self._spec.fleet.primary.name)
        if not self._session.hold_lease(*survey.find_all(self._spec.fleet.keepers)):
            raise AirfleetError("another apply changed this fleet in the meantime", hint=f"run it again: {NOW}")
        built = airflow_archives.build(survey, self._tell)
        self._apply(survey, built, moves.take_unpacking)
        is_moved = self._read_schema(survey) != self._want_schema(survey)
        if not (move.backup or self._spec.fleet.database):
            host = self._spec.fleet.primary.name
            made = repository.take(primary.connection, host, self._spec.fleet.backups, self._tell)
            move = replace(move, backup=made.name)
        airflow_version.write(self._folder, move.begun)
        if move.is_back:
            # The api-servers still run here: a task that cannot report its end would keep its worker from stopping.
            survey = self._survey(move)
            self._apply(survey, built, moves.take_workers)
            self._await_workers(survey)
        if is_moved:
            self._pause(survey)
            if move.is_back:
                self._take_schema_back(move, survey)
        survey = self._survey(move)
        self._apply(survey, built, tuple)
        self._stopped.clear()
        self._await_workers(survey)
        survey = self._survey(move)
        if survey.steps:
            left = ", ".join(sorted({step.what for step in survey.steps}))
            raise AirfleetError(f"the upgrade is not complete: {left}", hint=f"`{NOW}` continues the move")
        airflow_version.write(self._folder, move.done)
        return UpgradeResult(move.before, move.after, move.backup, is_moved, self._changes, survey.views)

    def _survey(self, move: VersionMove) -> Survey:
        spec = replace(self._spec, airflow=move.after, beside=move.before)
        survey = self._session.survey(spec)
        if survey.errors:
            self._tell(host_survey.describe_errors(survey.errors))
            hint = "fix these hosts first; what an unreachable host runs is unknown"
            raise AirfleetError("an upgrade needs all hosts", where=self._spec.fleet.name, hint=hint)
        # An upgrade leaves airfleet's own version alone, so what its tables wait for is for the next apply.
        return host_survey.change_steps(survey, waves.leave_cleanup)

    def _apply(self, survey: Survey, built: Mapping[str, Path], change: Change) -> None:
        chosen = host_survey.change_steps(survey, lambda _, own: change(own))
        rolling = Rolling(chosen.views, drain_s=self._drain_s, notify=self._tell)
        outcome = self._session.applier(chosen.views, report=self._report, archives=built, rolling=rolling).run()
        self._changes += len([one for one in outcome.done if one.error is None])
        if outcome.errors:
            self._tell(host_survey.describe_errors(outcome.errors))
            raise AirfleetError(
                "the upgrade stopped half-way",
                where=", ".join(error.where for error in outcome.errors),
                hint=f"`{NOW}` continues from there, `{NOW} --back` reverses the move",
            )
        if outcome.skipped and self._session.is_lost:
            raise AirfleetError("the lease was lost", hint=f"check whether another apply runs, then `{NOW}` again")

    def _read_schema(self, survey: Survey) -> frozenset[schema.Revision]:
        primary = _find(survey, self._spec.fleet.primary.name)
        script = schema.ask_current(ask_airflow(primary.desired.place))
        return schema.parse(primary.connection.check(script, what="checking the schema"))

    def _want_schema(self, survey: Survey) -> frozenset[schema.Revision]:
        view = self._find_keeper(survey)
        script = schema.ask_wanted(view.desired.place.runtime)
        return schema.parse(view.connection.check(script, what="checking the schema of the new packages"))

    def _find_keeper(self, survey: Survey) -> HostView:
        """Return the host that migrates the schema."""
        return _find(survey, self._spec.fleet.with_role("scheduler")[0].name)

    def _pause(self, survey: Survey) -> None:
        """Stop every process that uses the schema. Running tasks wait, and report when the API is up again."""
        self._tell("migrating the schema: schedulers and api-servers are stopped until then; tasks wait")
        self._paused_schema = self._read_schema(survey)
        for view in survey.views:
            runtime = str(view.desired.place.runtime)
            own = [service for service in view.desired.services if service.command[0].startswith(runtime)]
            names = [service.unit for service in own if service.stage in (Stage.API, Stage.CONTROL)]
            if names:
                self._stopped[view.desired.place.host.name] = (view, names)
                script = f"systemctl stop {' '.join(names)}"
                view.connection.check(script, timeout_s=STOP_S, what="stopping what works on the schema")

    def _go_on_as_before(self, survey: Survey) -> str:
        """Start the units that `_pause` stopped if the schema has not moved. Return what the fleet does now."""
        if not self._stopped:
            return "the fleet keeps working"
        still = "schedulers and api-servers are stopped, and tasks wait"
        try:
            if self._read_schema(survey) != self._paused_schema:
                return f"the schema is migrated: {still} until the upgrade continues"
            for view, names in self._stopped.values():
                # The units are still the old ones: they change only after the schema has moved.
                view.connection.check(f"systemctl start {' '.join(names)}", timeout_s=STOP_S, what="starting it again")
        except AirfleetError as error:
            return f"{still}: {error.what}"
        return "the schema has not moved, and the fleet keeps working as before"

    def _take_schema_back(self, move: VersionMove, survey: Survey) -> None:
        """Downgrade the schema with the newer packages, because the older ones do not know its revision."""
        view = self._find_keeper(survey)
        newer = host_survey.read_recipe(replace(self._spec, airflow=move.before), view.desired.place.machine)
        place = replace(view.desired.place, runtime=OPT / newer.digest)
        commands = schema.list_downgrades(self._read_schema(survey), self._want_schema(survey))
        script = metadata_jobs.administer(place, commands)
        job = Job("schema-back", "the schema of before", Stage.METADATA, script, SERVER_USER, timeout_s=SCHEMA_S)
        view.connection.check(steps.script(steps.RunJob(job)), timeout_s=SCHEMA_S + 30, what=f"the job {job.name}")

    def _await_workers(self, survey: Survey) -> None:
        """Wait until every worker runs from its present unit and serves its queues.

        Raises:
            AirfleetError: Running tasks have not ended in `drain_s` seconds.
        """
        end, told = self._clock() + self._drain_s, False
        while busy := [name for view in survey.views for name in _list_behind(view)]:
            if self._clock() >= end:
                raise AirfleetError(
                    "their running tasks have not ended",
                    where=", ".join(busy),
                    hint=f"they finish and restart by themselves; `{NOW}` checks them again",
                )
            if not told:
                self._tell(f"waiting for running tasks: {', '.join(busy)}")
                told = True
            self._sleep(LOOK_EVERY_S)


def _find(survey: Survey, name: str) -> HostView:
    return next(view for view in survey.views if view.desired.place.host.name == name)


def _list_behind(view: HostView) -> list[str]:
    services = [service for service in view.desired.services if service.drains]
    if not services:
        return []
    said = view.connection.check(rolling_restart.look_behind(services), what="checking the workers").splitlines()
    return [f"{unit}@{view.desired.place.host.name}" for unit in said]
