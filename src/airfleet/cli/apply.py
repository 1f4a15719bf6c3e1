"""`airfleet apply`: make every host what fleet.yaml says."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import click

from airfleet.cli import options, plan
from airfleet.components.metadata import ADMIN
from airfleet.errors import AirfleetError, UsageError
from airfleet.runners.fleet import lease
from airfleet.runners.fleet.apply import airflow_archives, debian_packages, removed_hosts
from airfleet.runners.fleet.apply.applier import Applier, ApplyOutcome, StepResult
from airfleet.runners.fleet.apply.removed_hosts import RemovedHosts
from airfleet.runners.fleet.apply.rolling_restart import Rolling
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.plan import waves
from airfleet.runners.fleet.survey import fleet_spec, host_survey, outside_health
from airfleet.runners.fleet.survey.fleet_spec import FleetSpec
from airfleet.runners.fleet.survey.host_survey import HostView, Survey
from airfleet.runners.fleet.survey.outside_health import Observation
from airfleet.runners.fleet.transport.connection import HostError
from airfleet.spec.topology import Host
from airfleet.workspace import airflow_version, applied_hosts, credentials, primary_record
from airfleet.workspace.rotation import RotationLedger
from airfleet.workspace.state_folder import StateFolder, write_file

# What `--offline` means without a folder.
HERE = "apt"
DRAIN_S = 900.0
REST_EVERY_S = 3.0


@click.command("apply", short_help="Make the hosts what fleet.yaml says.")
@options.project
@options.state
@click.option("--restart", is_flag=True, help="Restart every process of Airflow too, also where nothing changes.")
@click.option(
    "--drain",
    type=click.FloatRange(0),
    default=DRAIN_S,
    show_default=True,
    help="Seconds to wait for the tasks of a worker that restarts before the next one of its pool does.",
)
@click.option(
    "--offline",
    metavar="[FOLDER]",
    is_flag=False,
    flag_value=HERE,
    help="Send the hosts their Debian packages: they need no mirror. Fetched here with apt, or taken "
    "from a folder, where nothing checks who made them.",
)
@click.option(
    "--forget", multiple=True, metavar="HOST", help="Look no more for a host that left fleet.yaml and is gone for good."
)
@options.accept_new_hosts
@click.option("--revoke", is_flag=True, help="End former values of rotated secrets now, also where a task carries one.")
@options.as_json
def command(
    project: Path,
    state: Path | None,
    *,
    restart: bool,
    drain: float,
    offline: str | None,
    forget: tuple[str, ...],
    accept_new_hosts: bool,
    revoke: bool,
    as_json: bool,
) -> None:
    """Make every host of fleet.yaml what it says: packages, files, services, firewall, in the right order.

    What was cut off goes on at the next apply. Where there is nothing to do, nothing is touched. What has to restart
    does so host by host: requests are led past it, the active scheduler hands over, tasks run to their end.

    Exits with 3 when all is done but for a removed host whose tasks still run: apply again after them.

    \b
    Example:
      airfleet plan && airfleet apply
      airfleet apply --restart
      airfleet apply --offline
    """
    source = _find_source(offline)
    begun = time.monotonic()
    with ExitStack() as stack:
        folder = fleet_spec.open_folder(project, state)
        since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        token = stack.enter_context(lease.claim(folder.root, lease.find_actor(), since))
        spec = fleet_spec.read_spec(project, state, accept_new_hosts=accept_new_hosts)
        airflow_version.check_settled(folder)
        primary_record.check_settled(folder)
        known = _forget(applied_hosts.read(folder.root), forget)
        run = Run(spec, folder, stack.enter_context(ExitStack()), token, source, restart, drain)
        survey, outcome, removed = run.carry_out(known)
        while not (survey.errors or outcome.errors or outcome.skipped) and run.rotate(at_once=revoke):
            # The connections and the lease of this round end before those of the next begin.
            run.stack.close()
            spec = fleet_spec.read_spec(project, state, accept_new_hosts=accept_new_hosts)
            run = Run(spec, folder, stack.enter_context(ExitStack()), token, source, False, drain)
            survey, more, removed = run.carry_out(applied_hosts.read(folder.root))
            outcome = ApplyOutcome(outcome.done + more.done, more.errors, more.skipped)
        errors = (*survey.errors, *outcome.errors)
        patience = 0.0 if errors else outside_health.PATIENCE_S
        seen = (
            outside_health.wait(spec.fleet, survey.views, time.monotonic, patience_s=patience) if survey.views else ()
        )
    seconds = time.monotonic() - begun
    if as_json:
        still = [view.desired.place.host.name for view in removed.views]
        click.echo(json.dumps({**_describe(outcome, seen, errors, seconds), "draining": still}, indent=2))
    else:
        for observation in seen:
            click.echo(f"{'ok ' if observation.is_well else 'NOT'} {observation.what}: {observation.detail}", err=True)
    staying = {view.desired.place.host.name for view in removed.views}
    for host in sorted({one.step.host for one in outcome.done} - {host.name for host in spec.fleet.hosts}):
        if host not in staying:
            say(f"{host} left the fleet: {removed_hosts.LEFT}")
    for error in removed.silent:
        click.echo(removed_hosts.explain_silent(error), err=True)
    for line in RotationLedger(folder.secrets).describe(time.time()):
        say(f"rotation of {line}")
    if outcome.skipped:
        say(f"{len(outcome.skipped)} changes are left; the next apply goes on with them")
    if errors:
        click.echo(host_survey.describe_errors(errors), err=True)
        _keep_outputs(errors, folder)
    say(f"{len([one for one in outcome.done if one.error is None])} changes in {seconds:.1f} s")
    if errors or not all(observation.is_well for observation in seen):
        raise SystemExit(1)
    if staying:
        say(f"{', '.join(sorted(staying))} still drains, and has not left the fleet: apply again after its tasks")
        raise SystemExit(plan.CHANGES)
    url = survey.views[0].desired.place.public_url
    say(f"{spec.fleet.name} is up: {url} (user {ADMIN}, password in {folder.secrets / 'admin_password'})")


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Where hosts get their Debian packages: from their mirrors, or from this machine, by apt or out of a folder."""

    is_offline: bool
    folder: Path | None = None


def _find_source(offline: str | None) -> PackageSource:
    if offline is None or offline == HERE:
        return PackageSource(offline is not None)
    folder = Path(offline).expanduser()
    if not any(folder.rglob("*.deb")):
        hint = "write the project first if that is one: airfleet apply PROJECT --offline"
        raise UsageError(f"no packages (*.deb) are in {folder}", where="--offline", hint=hint)
    return PackageSource(is_offline=True, folder=folder)


def _forget(known: tuple[Host, ...], names: tuple[str, ...]) -> tuple[Host, ...]:
    if unknown := sorted(set(names) - {host.name for host in known}):
        there = ", ".join(host.name for host in known) or "none"
        raise UsageError(f"no such host: {', '.join(unknown)}", where="--forget", hint=f"the last apply knew {there}")
    return tuple(host for host in known if host.name not in names)


@dataclass(frozen=True, slots=True)
class Run:
    """One apply, from the look at the hosts to the last step."""

    spec: FleetSpec
    folder: StateFolder
    stack: ExitStack
    token: str
    source: PackageSource
    restart: bool
    drain_s: float

    def carry_out(self, known: tuple[Host, ...]) -> tuple[Survey, ApplyOutcome, RemovedHosts]:
        """Do what can be done; `known` are the hosts of the last apply."""
        applied_hosts.check_primary(known, self.spec.fleet)
        removed, survey = self._look(known)
        outcome = ApplyOutcome((), (), ())
        if survey.steps or removed.steps:
            removed, survey, outcome = self._change(known, removed, survey)
        applied_hosts.write(self.folder.root, (*self.spec.fleet.hosts, *removed_hosts.find_left(known, removed)))
        return survey, outcome, removed

    def rotate(self, *, at_once: bool) -> bool:
        """Let the rotation of secrets take its next step, once nothing works with what came before it; whether it did.

        What drains is waited for as long as for any restart.
        """
        # As it was when the hosts were given their secrets: what began since then is known to none of them.
        rotations = self.spec.rotations
        pools = [pool.name for pool in self.spec.fleet.pools]
        former = credentials.describe_former(self.folder, pools)
        if not rotations.is_due(time.time(), at_once=at_once) and not former:
            return False
        end, told = time.monotonic() + self.drain_s, False
        while not self._is_at_rest():
            if time.monotonic() >= end:
                say("some processes still work with former secrets; the next apply goes on")
                return False
            if not told:
                say("waiting for what still works with former secrets")
                told = True
            time.sleep(REST_EVERY_S)
        for line in rotations.describe(time.time()):
            say(f"every host is ready: {line}")
        for line in former:
            say(f"nothing uses them any more: {line} end")
        credentials.retire_former(self.folder, rotations, pools)
        return rotations.advance(time.time(), at_once=at_once) or bool(former)

    def _is_at_rest(self) -> bool:
        """Whether every host is as it should be, and each process runs from what is there now."""
        with ExitStack() as stack:
            removed, survey = replace(self, stack=stack, restart=False)._look(applied_hosts.read(self.folder.root))
            return not (survey.steps or survey.errors or removed.steps)

    def _look(self, known: tuple[Host, ...]) -> tuple[RemovedHosts, Survey]:
        removed = removed_hosts.look(self.spec, applied_hosts.find_gone(known, self.spec.fleet), self.stack)
        survey = host_survey.survey(replace(self.spec, leaving=removed.draining), self.stack, say)
        return removed, host_survey.change_steps(survey, waves.add_restarts) if self.restart else survey

    def _change(
        self, known: tuple[Host, ...], removed: RemovedHosts, survey: Survey
    ) -> tuple[RemovedHosts, Survey, ApplyOutcome]:
        primary = self.spec.fleet.primary.name
        keeper = next((view for view in survey.views if view.desired.place.host.name == primary), None)
        if keeper is None:
            error = AirfleetError(
                "no change is made on any host without this one, which keeps the database and the lease of apply",
                where=primary,
                hint="mend it first",
            )
            return removed, survey, ApplyOutcome((), (error,), survey.steps)
        held = self.stack.enter_context(lease.hold(keeper.connection, lease.find_actor(), self.token))
        if held.before != keeper.lease:
            say("somebody applied this fleet in the meantime: looking again")
            removed, survey = self._look(known)
        applied_hosts.write(self.folder.root, (*self.spec.fleet.hosts, *known))
        airflow_version.keep(self.folder)
        left = ApplyOutcome((), (), ())
        if removed.steps:
            say(f"hosts that leave: {', '.join(view.desired.place.host.name for view in removed.views)}")
            left = removed_hosts.drain_and_clear(removed.views, lambda views: self._applier(views, held.lost))
            removed, survey = self._look(known)
        if survey.steps:
            say(plan.summarise(survey))
        built: dict[str, Path] = {}
        if self.source.is_offline:
            work = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="airfleet-")))
            cache = airflow_archive.find_cache().with_name("packages")
            shipment = debian_packages.ship(survey, self.source.folder, work, cache, say)
            survey, built = shipment.survey, shipment.archives
        built |= airflow_archives.build(survey, say)
        absent = [error.where for error in survey.errors]
        rolling = Rolling(survey.views, drain_s=self.drain_s, notify=say)
        outcome = self._applier(survey.views, held.lost, built, absent, rolling).run()
        errors = left.errors + outcome.errors
        if held.lost.is_set() and outcome.skipped and not errors:
            hint = "look whether somebody else applies, then apply again"
            errors = (AirfleetError("the lease of this apply was lost", where=primary, hint=hint),)
        return removed, survey, ApplyOutcome(left.done + outcome.done, errors, left.skipped + outcome.skipped)

    def _applier(
        self,
        views: Iterable[HostView],
        lost: threading.Event,
        built: Mapping[str, Path] | None = None,
        absent: Iterable[str] = (),
        rolling: Rolling | None = None,
    ) -> Applier:
        return Applier(
            views,
            who=lease.find_actor(),
            archives=built or {},
            clock=time.monotonic,
            notify=notify,
            lost=lost,
            absent=absent,
            rolling=rolling,
        )


def notify(result: StepResult) -> None:
    if result.step.is_small and not result.error:
        return
    mark = "failed: " if result.error else ""
    note = f" [{result.note.splitlines()[-1]}]" if result.note == "draining" else ""
    say(f"{result.step.host}: {mark}{result.step.what} {result.seconds:.1f} s{note}")


def _keep_outputs(errors: tuple[AirfleetError, ...], folder: StateFolder) -> None:
    for error in errors:
        if isinstance(error, HostError) and error.output:
            path = folder.logs / f"apply-{error.where}.log"
            write_file(path, error.output)
            click.echo(f"all that {error.where} said: {path}", err=True)


def say(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {line}", err=True)


def _describe(
    outcome: ApplyOutcome,
    seen: tuple[Observation, ...],
    errors: tuple[AirfleetError, ...],
    seconds: float,
) -> dict[str, object]:
    return {
        "seconds": round(seconds, 2),
        "changes": [
            {"host": one.step.host, "what": one.step.what, "seconds": round(one.seconds, 2), "ok": one.error is None}
            for one in outcome.done
        ],
        "left": len(outcome.skipped),
        "health": [
            {"what": observation.what, "ok": observation.is_well, "detail": observation.detail} for observation in seen
        ],
        "errors": [{"host": error.where, "what": error.what, "hint": error.hint} for error in errors],
    }
