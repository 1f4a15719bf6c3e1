"""`airfleet db …`: back up the metadata database and the fleet's own, and bring them back."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.view import console
from airfleet.components.postgres import SUPERUSER
from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.backup import catalogue
from airfleet.operations.backup.catalogue import Backup
from airfleet.operations.backup.cluster import Cluster
from airfleet.operations.backup.restore import restore
from airfleet.operations.backup.store import Store
from airfleet.operations.backup.take import take
from airfleet.runners.local import launch as launching
from airfleet.runners.local.state import StateFolder

KEEP = 7


@click.group("db", short_help="Back up the databases, and bring them back to any moment since.")
def command() -> None:
    """Back up the metadata database and all others of the platform's server, and restore them.

    \b
    Example:
      airfleet db backup
      airfleet db restore --to "2026-11-24 16:05"
    """


@command.command("backup")
@options.project
@options.state
@click.option("--keep", type=click.IntRange(1), default=KEEP, show_default=True, help="Backups to keep; older ones go.")
@options.as_json
def backup_command(project: Path, state: Path | None, keep: int, as_json: bool) -> None:
    """Copy the running server's data and check the copy. From the first backup on, every change is archived too.

    Backups are in `backups` in the state folder, which may be a link to another disk. They hold no key: keep a copy
    of `secrets/fernet_key` elsewhere, or the connections in a backup cannot be read.

    \b
    Example:
      airfleet db backup
    """
    folder = launching.find_state(project, state)
    cluster = _find_cluster(folder)
    port = _find_port(folder)
    made = take(cluster, port, airflow=launching.airflow_version(), keep=keep, notify=_say)
    if as_json:
        click.echo(made.to_json())
    else:
        click.echo(f"{made.name}: {made.bytes / 2**20:.1f} MiB, from now on {_describe_reach(made)}")


@command.command("backups")
@options.project
@options.state
@options.as_json
def backups_command(project: Path, state: Path | None, as_json: bool) -> None:
    """List the backups, the oldest first.

    \b
    Example:
      airfleet db backups --json
    """
    folder = launching.find_state(project, state)
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
@click.option("--to", "moment", help="The moment to go back to, UTC unless it says otherwise.  [default: the newest]")
@click.option("--backup", "name", help="The backup to begin from.  [default: the newest before that moment]")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@options.as_json
def restore_command(
    project: Path, state: Path | None, moment: str | None, name: str | None, yes: bool, as_json: bool
) -> None:
    """Put the databases of a stopped platform back to a moment. The present data is kept aside, not removed.

    \b
    Example:
      airfleet down && airfleet db restore --to "2026-11-24 16:05" && airfleet up
    """
    to = _read_moment(moment) if moment else None
    folder = launching.find_state(project, state)
    cluster = _find_cluster(folder)
    with folder.lock():
        chosen = catalogue.choose(Store(cluster.backups).list(), name=name, to=to)
        _confirm(cluster, chosen, to, yes=yes)
        done = restore(cluster, chosen, to=to, notify=_say)
    if as_json:
        click.echo(json.dumps({"backup": done.backup, "to": done.to.isoformat(), "kept": str(done.kept)}))
        return
    click.echo(f"the databases are as they were at {done.to:%Y-%m-%d %H:%M:%S} UTC; `airfleet up` starts on them")
    click.echo(f"the former data is in {done.kept}: remove it when you do not need it any more", err=True)


def _confirm(cluster: Cluster, backup: Backup, to: datetime | None, *, yes: bool) -> None:
    moment = f"{to:%Y-%m-%d %H:%M:%S} UTC" if to else "the newest change that is archived"
    size = sum(file.stat().st_size for file in cluster.data.rglob("*") if file.is_file())
    free = shutil.disk_usage(cluster.data.parent).free
    if free < size:
        raise AirfleetError(
            f"there is no room to restore beside the present data: {size >> 20} MiB are needed, {free >> 20} are free",
            where=str(cluster.data.parent),
        )
    click.echo(
        f"This replaces all databases in {cluster.data} by what they were at {moment}, from backup {backup.name}.\n"
        f"Everything later is undone: Dag runs, releases, users, the project's own databases. Tasks that were running"
        f" then run again.\nThe present data, {size >> 20} MiB, is kept beside it.",
        err=True,
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm", hint="say --yes")
    click.confirm("Restore?", abort=True, err=True)


def _find_cluster(folder: StateFolder) -> Cluster:
    data = folder.root / "postgres"
    if not data.exists():
        raise UsageError("no platform was ever up here", where=str(folder.root), hint="airfleet up")
    return Cluster(
        data=data,
        binaries=launching.find_postgres(),
        backups=folder.root / "backups",
        superuser=folder.read_credentials(()).superuser,
    )


def _find_port(folder: StateFolder) -> int:
    pid = folder.root / "postgres" / "postmaster.pid"
    if not folder.is_held() or not pid.exists():
        raise AirfleetError(f"{SUPERUSER} does not run here", where=str(folder.root), hint="airfleet up")
    return int(pid.read_text().splitlines()[3])


def _read_moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no moment", hint='write it as "2026-11-24 16:05:30"') from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _describe_reach(backup: Backup) -> str:
    return f"restores to any moment after {backup.ended:%Y-%m-%d %H:%M:%S} UTC"


def _say(text: str) -> None:
    console(stderr=True).print(text, highlight=False, markup=False)
