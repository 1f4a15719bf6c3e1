"""`airfleet db …` of many machines: backups of the primary database host, and a restore of the whole fleet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import click

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.backup.catalogue import Backup
from airfleet.operations.backup.pgbackrest import repository
from airfleet.operations.backup.pgbackrest.recovery import Recovery, RestoredFleet, RestorePlan
from airfleet.runners.fleet import lease
from airfleet.runners.fleet.apply.applier import StepResult
from airfleet.runners.fleet.survey import fleet_spec
from airfleet.runners.fleet.transport.shell import HostShell
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host
from airfleet.workspace import airflow_version, primary_record
from airfleet.workspace.state_folder import StateFolder

T = TypeVar("T")


def backup(fleet: Fleet, folder: StateFolder, project: Path) -> Backup:
    """A new backup of the primary."""
    return _on_primary(fleet, folder, project, lambda shell, host: repository.take(shell, host, fleet.backups, say))


def list_backups(fleet: Fleet, folder: StateFolder, project: Path) -> tuple[Backup, ...]:
    """The backups of the primary, the oldest first."""
    return _on_primary(fleet, folder, project, repository.list_backups)


def restore(
    project: Path,
    state: Path | None,
    *,
    name: str | None,
    to: datetime | None,
    undo: bool,
    yes: bool,
) -> RestoredFleet:
    """Ask, and bring the fleet back to the moment."""
    with ExitStack() as stack:
        folder = fleet_spec.open_folder(project, state)
        since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        token = stack.enter_context(lease.claim(folder.root, lease.find_actor(), since))
        spec = fleet_spec.read_spec(project, state)
        airflow_version.check_settled(folder)
        primary_record.check_settled(folder)
        recovery = Recovery(spec, stack, token=token, notify=say, tell=_tell)
        plan = recovery.look(name=name, to=to, undo=undo)
        _confirm(spec.fleet, plan, yes=yes)
        done = recovery.run(plan)
    for observation in done.seen:
        click.echo(f"{'ok ' if observation.is_well else 'NOT'} {observation.what}: {observation.detail}", err=True)
    if not all(observation.is_well for observation in done.seen):
        raise AirfleetError("the data is restored, and something is not well yet", hint="airfleet status")
    return done


def say(text: str) -> None:
    """Talk, with the time of day, as work on a fleet takes some."""
    click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)


def _confirm(fleet: Fleet, plan: RestorePlan, *, yes: bool) -> None:
    newest = "what they were when the last restore began" if plan.is_undo else "the newest change that is archived"
    moment = f"{plan.to:%Y-%m-%d %H:%M:%S} UTC" if plan.to else newest
    lines = [
        f"This brings all databases of the fleet {fleet.name} back to {moment}, from {plan.source}.",
        "Everything later is undone: Dag runs, releases, users, the project's own databases.",
        f"It stops what works on the database on {', '.join(plan.stops)}; workers and their tasks wait.",
        f"The present data, {plan.situation.size >> 20} MiB, is kept beside it on {fleet.primary.name}.",
    ]
    if plan.copies:
        lines.append(f"Replicas are copied anew: {', '.join(plan.copies)}.")
    if plan.goes_on:
        lines = [f"A restore to {moment} was cut off after its data was in place: the fleet is brought back on it."]
    click.echo("\n".join(lines), err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm", hint="say --yes")
    click.confirm("Restore?", abort=True, err=True)


def _tell(result: StepResult) -> None:
    if not result.step.is_small or result.error:
        say(f"{result.step.host}: {'failed: ' if result.error else ''}{result.step.what} {result.seconds:.1f} s")


def _on_primary(fleet: Fleet, folder: StateFolder, project: Path, work: Callable[[HostShell, str], T]) -> T:
    host: Host = primary_record.apply_to(fleet, folder).primary
    shell = HostShell(host, project)
    try:
        return work(shell, host.name)
    finally:
        shell.close()
