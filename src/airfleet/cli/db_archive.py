"""`airfleet db archive …`: finished runs leave the metadata database for Parquet files, and come back when asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.airflow import run_airflow
from airfleet.components import archiver
from airfleet.errors import UsageError
from airfleet.spec.fleet import Fleet
from airfleet.workspace.project import find_project, find_state, read_fleet

host_option = click.option(
    "--host", help="Of a fleet: the scheduler host to run it on.  [default: the first that answers]"
)
dag_option = click.option("--dag", help="Only runs of the Dag with this id.")


@click.group("archive", short_help="Move finished runs to Parquet files; query and restore them.")
def command() -> None:
    """Move old finished runs out of the metadata database into Parquet files, query them, bring them back.

    `archive` in fleet.yaml says which runs, and where the files are. On a fleet the work is done on a scheduler host.
    The packages pyarrow, duckdb and adbc-driver-postgresql must be among the project's requirements.

    \b
    Example:
      airfleet db archive run --dry-run
      airfleet db archive query 'SELECT dag_id, avg(duration) FROM task_instance GROUP BY 1'
    """


@command.command("run")
@options.project_option
@options.state
@host_option
@dag_option
@click.option("--before", help="Archive runs that ended before this moment.  [default: `archive.retention` days ago]")
@click.option("--budget", type=click.IntRange(min=1), help="Seconds for this call.  [default: `archive.budget`]")
@click.option("--dry-run", is_flag=True, help="Only show which runs would be archived.")
@options.as_json
def run_command(
    project: Path,
    state: Path | None,
    host: str | None,
    dag: str | None,
    before: str | None,
    budget: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Archive finished runs with task instances, XComs, histories, notes, log rows and the logs of tasks.

    Rows and logs are deleted only after the files were read back and compared, and only if they have not changed since.
    The newest run of each type and the newest success of each Dag stay. If the command is interrupted, run it again: it
    finishes what was begun.

    \b
    Example:
      airfleet db archive run --dry-run
      airfleet db archive run --before 2026-06-01 --dag flights
    """
    fleet = read_fleet(find_project(project))
    moment = options.read_moment(before) if before else datetime.now(UTC) - timedelta(days=fleet.archive.retention)
    words = ["--before", moment.isoformat(), "--budget", str(budget or fleet.archive.budget)]
    words += ["--pause", str(fleet.archive.pause), *(["--dry-run"] if dry_run else []), *_name(dag)]
    _run("run", words, project, state, host, as_json=as_json)


@command.command("list")
@options.project_option
@options.state
@host_option
@dag_option
@click.option("--from", "since", help="Only batches with a run whose `run_after` is not before this moment.")
@click.option("--to", "until", help="Only batches with a run whose `run_after` is before this moment.")
@options.as_json
def list_command(
    project: Path,
    state: Path | None,
    host: str | None,
    dag: str | None,
    since: str | None,
    until: str | None,
    as_json: bool,
) -> None:
    """List the archived batches: runs of one Dag and one month, with their rows, logs, bytes and, as JSON, hashes.

    \b
    Example:
      airfleet db archive list --dag flights --from 2026-03-01 --to 2026-04-01
    """
    words = [
        word
        for name, text in (("--from", since), ("--to", until))
        if text
        for word in (name, options.read_moment(text).isoformat())
    ]
    _run("list", [*_name(dag), *words], project, state, host, as_json=as_json)


@command.command("query")
@options.project_option
@options.state
@host_option
@click.argument("sql")
@options.as_json
def query_command(project: Path, state: Path | None, host: str | None, sql: str, as_json: bool) -> None:
    """Run SQL of DuckDB on the archived rows. Each table has the name that it has in Airflow's database.

    The logs of tasks are the table `task_log`, in pieces: `decode(content)` is their text.

    It only reads, and it reads no other file. `-` reads the SQL from standard input.

    \b
    Example:
      airfleet db archive query 'SELECT task_id, quantile_cont(duration, 0.95) FROM task_instance GROUP BY 1'
    """
    _run("query", ["--sql", sql], project, state, host, as_json=as_json)


@command.command("restore")
@options.project_option
@options.state
@host_option
@click.option("--dag", required=True, help="The id of the Dag.")
@click.option("--from", "since", required=True, help="Restore runs whose `run_after` is not before this moment.")
@click.option("--to", "until", required=True, help="Restore runs whose `run_after` is before this moment.")
@click.option(
    "--keep-days", type=click.FloatRange(min=0), default=7.0, show_default=True, help="Days until they may go again."
)
@options.as_json
def restore_command(
    project: Path,
    state: Path | None,
    host: str | None,
    dag: str,
    since: str,
    until: str,
    keep_days: float,
    as_json: bool,
) -> None:
    """Bring archived runs of a Dag back into the metadata database, with their logs and the versions of the Dag.

    The archive keeps its copy. A run that is in the database already, under its id or its logical date, stays as it is.

    \b
    Example:
      airfleet db archive restore --dag flights --from 2026-03-01 --to 2026-04-01
    """
    moments = ["--from", options.read_moment(since).isoformat(), "--to", options.read_moment(until).isoformat()]
    _run("restore", [*_name(dag), *moments, "--keep-days", str(keep_days)], project, state, host, as_json=as_json)


def _run(action: str, words: list[str], project: Path, state: Path | None, host: str | None, *, as_json: bool) -> None:
    found = find_project(project)
    fleet = read_fleet(found)
    arguments = ["airfleet", "archive", action, "--store", _find_store(fleet, project, state), *words]
    run_airflow(project, state, host, (*arguments, *(["--json"] if as_json else [])))


def _find_store(fleet: Fleet, project: Path, state: Path | None) -> str:
    if fleet.archive.store:
        return fleet.archive.store
    if fleet.hosts:
        raise UsageError(
            "fleet.yaml does not say where archived runs are",
            where="fleet.yaml",
            hint="archive: {store: /a/folder/that/every/scheduler/host/sees}, or a URL such as s3://bucket/runs",
        )
    return archiver.find_store(fleet.archive, find_state(project, state).root)


def _name(dag: str | None) -> list[str]:
    return ["--dag", dag] if dag else []
