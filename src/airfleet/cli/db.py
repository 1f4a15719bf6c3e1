"""`airfleet db …`: back up and restore the metadata database and the fleet's other databases."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.console import confirm, say
from airfleet.cli.db_archive import command as archive_command
from airfleet.cli.db_care import command as care_command
from airfleet.cli.environment import enter
from airfleet.components.postgresql.embedded import SUPERUSER
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.backup import catalogue
from airfleet.operations.backup.catalogue import Backup
from airfleet.operations.backup.embedded.cluster import Cluster
from airfleet.operations.backup.embedded.restore import restore
from airfleet.operations.backup.embedded.store import Store
from airfleet.operations.backup.embedded.take import take
from airfleet.runners.local import launch as launching
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret
from airfleet.workspace import airflow_version
from airfleet.workspace.project import find_project, find_state, read_fleet
from airfleet.workspace.rotation import RotationLedger, present_alone
from airfleet.workspace.state_folder import StateFolder

# ruff: noqa: PLC0415 - one machine needs nothing that speaks SSH
LATEST = "latest"


@click.group("db", short_help="Back up and restore the databases; archive old runs; care.")
def command() -> None:
    """Back up and restore all databases of the platform's server; archive old runs; care for the metadata database.

    On a fleet, the primary database host also makes a backup every day.

    \b
    Example:
      airfleet db backup
      airfleet db restore --to "2026-11-24 16:05"
    """


@command.command("backup")
@options.project
@options.state
@options.as_json
def backup_command(project: Path, state: Path | None, as_json: bool) -> None:
    """Copy the running server's data and verify the copy. After the first backup, every change is archived too.

    Backups are in the folder `backups` of the state folder, which may be a link to another disk. On a fleet, `backups`
    in fleet.yaml sets the folder. It also sets how many backups are kept. Backups contain no keys: keep a copy of
    `secrets/` elsewhere, or nobody can decrypt the connections in a backup.

    \b
    Example:
      airfleet db backup
    """
    fleet = _read_fleet(project)
    folder = find_state(project, state)
    _require_own_server(fleet)
    if fleet.hosts:
        from airfleet.cli import fleet_db

        made = fleet_db.backup(fleet, folder, find_project(project))
    else:
        cluster = _find_cluster(folder, project, fleet)
        port = _find_port(folder)
        made = take(cluster, port, airflow=airflow_version.find_installed(), keep=fleet.backups.keep, notify=say)
    if as_json:
        click.echo(made.to_json())
    else:
        click.echo(f"{made.name}: {made.bytes / 2**20:.1f} MiB, from now on {_describe_reach(made)}")


@command.command("backups")
@options.project
@options.state
@options.as_json
def backups_command(project: Path, state: Path | None, as_json: bool) -> None:
    """List the backups, oldest first.
    \b
    Example:
      airfleet db backups --json
    """
    fleet = _read_fleet(project)
    folder = find_state(project, state)
    _require_own_server(fleet)
    if fleet.hosts:
        from airfleet.cli import fleet_db

        backups = list(fleet_db.list_backups(fleet, folder, find_project(project)))
    else:
        backups = Store(folder.root / "backups").list()
    if as_json:
        click.echo(json.dumps([json.loads(backup.to_json()) for backup in backups], indent=2))
        return
    if not backups:
        click.echo("no backup yet: airfleet db backup", err=True)
    for backup in backups:
        click.echo(f"{backup.name}  {backup.bytes / 2**20:8.1f} MiB  {_describe_reach(backup)}")


@command.command("restore")
@options.project
@options.state
@click.option(
    "--to",
    "moment",
    help="The moment to restore to (UTC unless it names a time zone), or `latest`.  [default: latest]",
)
@click.option("--backup", "name", help="The backup to start from.  [default: the newest before that moment]")
@click.option("--undo", is_flag=True, help="Fleet only: return to the data that the last restore replaced.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@options.as_json
def restore_command(
    project: Path, state: Path | None, moment: str | None, name: str | None, undo: bool, yes: bool, as_json: bool
) -> None:
    """Restore the databases of a stopped platform to a moment. The present data is moved aside, not removed.

    On a fleet, the command stops what uses the databases and starts it again. If it is interrupted, run it again to
    continue.

    \b
    Example:
      airfleet down && airfleet db restore --to "2026-11-24 16:05" && airfleet up
      airfleet db restore --to latest --yes
      airfleet db restore --undo
    """
    to = options.read_moment(moment) if moment and moment != LATEST else None
    folder = find_state(project, state)
    fleet = _read_fleet(project)
    _require_own_server(fleet)
    if fleet.hosts:
        if undo and (moment or name):
            raise UsageError("--undo cannot be combined with --to or --backup")
        _restore_fleet(project, state, name=name, to=to, undo=undo, yes=yes, as_json=as_json)
        return
    if undo:
        raise UsageError(
            "--undo is for fleets", hint="replace the folder `postgres` by the folder that the restore printed"
        )
    cluster = _find_cluster(folder, project, fleet)
    with folder.lock():
        chosen = catalogue.choose(Store(cluster.backups).list(), name=name, to=to)
        _confirm(cluster, chosen, to, yes=yes)
        done = restore(cluster, chosen, to=to, notify=say)
    if as_json:
        click.echo(json.dumps({"backup": done.backup, "to": done.to.isoformat(), "kept": str(done.kept)}))
        return
    click.echo(f"the databases are as they were at {done.to:%Y-%m-%d %H:%M:%S} UTC; `airfleet up` starts on them")
    click.echo(f"the former data is in {done.kept}: remove it when you no longer need it", err=True)


command.add_command(archive_command)
command.add_command(care_command)


def _restore_fleet(
    project: Path,
    state: Path | None,
    *,
    name: str | None,
    to: datetime | None,
    undo: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from airfleet.cli import fleet_db

    done = fleet_db.restore(project, state, name=name, to=to, undo=undo, yes=yes)
    if as_json:
        body = {"backup": done.backup, "to": done.to and done.to.isoformat(), "kept": done.kept}
        click.echo(json.dumps({**body, "stopped_s": round(done.stopped_s, 1)}))
        return
    moment = f"at {done.to:%Y-%m-%d %H:%M:%S} UTC" if done.to else "at the newest change that was archived"
    click.echo(f"the databases are as they were {moment}; the fleet was stopped for {done.stopped_s:.0f} s")
    click.echo(f"the former data is in {done.kept} there: remove it when you no longer need it", err=True)


def _read_fleet(project: Path) -> Fleet:
    return read_fleet(find_project(project))


def _confirm(cluster: Cluster, backup: Backup, to: datetime | None, *, yes: bool) -> None:
    moment = f"{to:%Y-%m-%d %H:%M:%S} UTC" if to else "the newest change that is archived"
    size = sum(file.stat().st_size for file in cluster.data.rglob("*") if file.is_file())
    free = shutil.disk_usage(cluster.data.parent).free
    if free < size:
        raise AirfleetError(
            f"not enough disk space for a restore: {size >> 20} MiB needed, {free >> 20} free",
            where=str(cluster.data.parent),
        )
    click.echo(
        f"This replaces all databases in {cluster.data} by what they were at {moment}, from backup {backup.name}.\n"
        f"Everything later is undone: Dag runs, releases, users, the project's own databases. Tasks that were running"
        f" then run again.\nThe present data, {size >> 20} MiB, is kept beside it.",
        err=True,
    )
    confirm("Restore?", yes=yes)


def _find_cluster(folder: StateFolder, project: Path, fleet: Fleet) -> Cluster:
    data = folder.postgres_data
    if not data.exists():
        raise UsageError("no platform has ever run in this project", where=str(folder.root), hint="airfleet up")
    enter(find_project(project), fleet, folder.root)  # PostgreSQL's programs are there
    return Cluster(
        data=data,
        binaries=launching.find_postgres(),
        backups=folder.root / "backups",
        superuser=_read_superuser(folder),
    )


def _require_own_server(fleet: Fleet) -> None:
    """Raise UsageError where somebody else runs PostgreSQL: backups and fail-over are theirs."""
    if fleet.database:
        raise UsageError(
            "somebody else runs this PostgreSQL, so its backups, restores and fail-overs are theirs",
            where="fleet.yaml: database",
            hint=f"before they restore it: airfleet down; after that: airfleet {'apply' if fleet.hosts else 'up'}."
            " Keep a copy of `secrets/` yourself",
        )


def _read_superuser(folder: StateFolder) -> Secret:
    rotations = RotationLedger(folder.secrets)

    def present(name: str, secret: Secret) -> Secret:
        return present_alone(name, rotations.notice_platform(name, secret))

    return folder.read_credentials((), present).superuser


def _find_port(folder: StateFolder) -> int:
    pid = folder.postgres_data / "postmaster.pid"
    if not folder.is_held() or not pid.exists():
        raise AirfleetError(f"{SUPERUSER} does not run here", where=str(folder.root), hint="airfleet up")
    return int(pid.read_text().splitlines()[3])


def _describe_reach(backup: Backup) -> str:
    return f"restores to any moment after {backup.ended:%Y-%m-%d %H:%M:%S} UTC"
