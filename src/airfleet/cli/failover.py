"""`airfleet failover`: make another scheduler active, or another database host the primary, on purpose."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.console import say
from airfleet.errors import UsageError
from airfleet.operations import metadata_database
from airfleet.operations.scheduler_handover import SchedulerHandover
from airfleet.spec.fleet import Fleet
from airfleet.workspace.project import find_project, read_fleet

# ruff: noqa: PLC0415 - one machine needs nothing that speaks SSH


@click.command("failover", short_help="Fail over to the standby on purpose: scheduler or database.")
@options.project
@options.state
@click.option("--database", is_flag=True, help="Make another database host the primary.")
@click.option("--to", help="The database host that takes over.  [default: the replica with the most data]")
@click.option("--lost", is_flag=True, help="Continue even if data that only other hosts have, or may have, is lost.")
@click.option(
    "--timeout", type=click.FloatRange(1), default=120.0, show_default=True, help="Seconds to wait for a scheduler."
)
@options.as_json
def command(
    project: Path, state: Path | None, database: bool, to: str | None, lost: bool, timeout: float, as_json: bool
) -> None:
    """Hand over from the active scheduler to its standby, and show how many seconds it took.

    With Celery, running tasks continue. A LocalExecutor first waits for its tasks to end.

    With --database, Patroni makes another database host the primary: the replica that commits wait for, or the one with
    the most data. The whole fleet follows, tasks continue, and the former primary becomes a replica. A primary that is
    lost needs no command: Patroni replaces it within a minute. If confirmed data may be lost, the command names the
    data and stops, unless you add --lost.

    \b
    Example:
      airfleet failover
      airfleet failover --database --to db2
    """
    fleet = read_fleet(find_project(project)) if (project / "fleet.yaml").exists() else None
    if database:
        _switch_over(fleet, project, state, to=to, lost=lost, timeout_s=timeout, as_json=as_json)
        return
    if to or lost:
        raise UsageError("--to and --lost need --database")
    with metadata_database.reach(fleet, project, state, must_run=True) as dsn:
        done = SchedulerHandover(dsn).hand_over(timeout_s=timeout, notify=say)
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    click.echo(f"{done.after} is active, {done.works_s:.1f} s after the request to {done.before} (epoch {done.epoch})")


def _switch_over(
    fleet: Fleet | None,
    project: Path,
    state: Path | None,
    *,
    to: str | None,
    lost: bool,
    timeout_s: float,
    as_json: bool,
) -> None:
    if fleet is None or not fleet.hosts:
        raise UsageError("this platform has one database", where=str(project), hint="name `hosts` in fleet.yaml")
    if fleet.database:
        raise UsageError(
            "somebody else runs this PostgreSQL, so its fail-overs are theirs",
            where="fleet.yaml: database",
            hint="Airflow's processes wait meanwhile, and connect again; without --database, the scheduler fails over",
        )
    from airfleet.operations import session
    from airfleet.operations.database import switchover

    with session.open_session(project, state, notify=say) as work:
        done = switchover.switch_over(work, to=to, lost=lost, timeout_s=timeout_s)
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    click.echo(f"{done.after} is the primary; a scheduler works on it {done.works_s:.1f} s after the request")
    if done.before != done.after:
        say(f"{done.before} becomes its replica; fleet.yaml stays as it is")
