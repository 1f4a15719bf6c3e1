"""`airfleet failover`: let the other scheduler work, on purpose."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.errors import AirfleetError
from airfleet.operations.failover import Failover
from airfleet.runners.local import launch as launching


@click.command("failover", short_help="Let the standby scheduler take over, on purpose.")
@options.project
@options.state
@click.option(
    "--timeout", type=click.FloatRange(1), default=120.0, show_default=True, help="Seconds to wait for the other one."
)
@options.as_json
def command(project: Path, state: Path | None, timeout: float, as_json: bool) -> None:
    """Ask the active scheduler to hand over to the one that stands by, and show how many seconds it took.

    Running tasks go on under Celery. A LocalExecutor waits for its own tasks to end first.

    \b
    Example:
      airfleet failover
      airfleet failover --json
    """
    folder = launching.find_state(project, state)
    dsn = folder.read_dsn()
    if dsn is None or not folder.is_held():
        raise AirfleetError("nothing is up here", where=str(folder.root), hint="airfleet up")
    done = Failover(dsn).hand_over(timeout_s=timeout, notify=lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    click.echo(f"{done.after} is active, {done.works_s:.1f} s after {done.before} was asked (epoch {done.epoch})")
