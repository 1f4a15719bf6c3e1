"""`airfleet db care`: what the metadata database needs beside PostgreSQL's defaults and Airflow's schema."""

from __future__ import annotations

from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.airflow import run_airflow


@click.command("care")
@options.project_option
@options.state
@click.option("--host", help="Of a fleet: the scheduler host to run it on.  [default: the first that answers]")
@click.option("--dry-run", is_flag=True, help="Only show what the database needs, with the SQL.")
@options.as_json
def command(project: Path, state: Path | None, host: str | None, dry_run: bool, as_json: bool) -> None:
    """Tune and repair the metadata database while it is in use; show figures from before and after, and alarms.

    It sets autovacuum for the tables that Airflow changes all the time, makes the indexes that foreign keys and
    airfleet's own statements lack, drops the index that makes each heartbeat expensive, makes bloated indexes anew, and
    renews the planner's statistics. Each step runs beside the work of the platform. A second call does only what is
    needed then.

    \b
    Example:
      airfleet db care --dry-run
      airfleet db care --json
    """
    arguments = ("airfleet", "care", "plan" if dry_run else "run", *(["--json"] if as_json else []))
    run_airflow(project, state, host, arguments)
