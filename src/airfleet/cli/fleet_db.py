"""`airfleet db …` of many machines: backups of the primary database host, and a restore of the whole fleet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from airfleet.cli.console import confirm, log, log_step, say, show_health
from airfleet.errors import AirfleetError
from airfleet.operations import session
from airfleet.operations.backup.catalogue import Backup
from airfleet.operations.backup.pgbackrest import repository
from airfleet.operations.backup.pgbackrest.recovery import Recovery, RestoredFleet, RestorePlan
from airfleet.runners.fleet.transport import database_cluster
from airfleet.runners.fleet.transport.shell import HostShell
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host
from airfleet.workspace.state_folder import StateFolder

T = TypeVar("T")


def backup(fleet: Fleet, folder: StateFolder, project: Path) -> Backup:
    """Make a new backup of the primary."""
    return _on_primary(fleet, folder, project, lambda shell, host: repository.take(shell, host, fleet.backups, log))


def list_backups(fleet: Fleet, folder: StateFolder, project: Path) -> tuple[Backup, ...]:
    """Return the backups of the primary, oldest first."""
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
    """Ask for a confirmation, and restore the fleet's databases to the moment."""
    with session.open_session(project, state, notify=log) as work:
        fleet = work.spec.fleet
        work.check_settled()
        recovery = Recovery(work, report=log_step)
        plan = recovery.look(name=name, to=to, undo=undo)
        _confirm(fleet, plan, yes=yes)
        done = recovery.run(plan)
    show_health(done.seen)
    if not all(one.is_well for one in done.seen):
        raise AirfleetError("the data is restored, but some checks still fail", hint="airfleet status")
    return done


def _confirm(fleet: Fleet, plan: RestorePlan, *, yes: bool) -> None:
    newest = "what they were when the last restore began" if plan.is_undo else "the newest change that is archived"
    moment = f"{plan.to:%Y-%m-%d %H:%M:%S} UTC" if plan.to else newest
    lines = [
        f"This restores all databases of the fleet {fleet.name} to {moment}, from {plan.source}.",
        "Everything later is undone: Dag runs, releases, users, the project's own databases.",
        f"It stops what works on the database on {', '.join(plan.stops)}; workers and their tasks wait.",
        f"The present data, {plan.situation.size >> 20} MiB, is kept beside it on {fleet.primary.name}.",
    ]
    if plan.copies:
        lines.append(f"Replicas are copied again from the primary: {', '.join(plan.copies)}.")
    if plan.goes_on:
        lines = [f"A restore to {moment} was interrupted after its data was in place: the fleet starts on it."]
    say("\n".join(lines))
    confirm("Restore?", yes=yes)


def _on_primary(fleet: Fleet, folder: StateFolder, project: Path, work: Callable[[HostShell, str], T]) -> T:
    host: Host = database_cluster.refresh(fleet, folder, project).primary
    shell = HostShell(host, project)
    try:
        return work(shell, host.name)
    finally:
        shell.close()
