"""`airfleet dag test`: run one Dag once, without a scheduler and without a trace."""

from __future__ import annotations

import json
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.environment import enter
from airfleet.cli.run import read_conf
from airfleet.errors import UsageError
from airfleet.workspace.project import find_project, find_state, read_fleet
from airfleet_provider.contract.dag_test_request import DagTestRequest


@click.group("dag", short_help="Test a Dag.")
def command() -> None:
    """Run one Dag as a test.

    \b
    Example:
      airfleet dag test sales
    """


@command.command("test")
@click.argument("dag")
@click.option("--conf", default="{}", help="The run's conf, an object in JSON. `@FILE` reads it from a file.")
@click.option("--logical-date", help="The logical date of the run.  [default: now]")
@click.option("--retries", is_flag=True, help="Try tasks that fail again, as often as the Dag says.")
@options.project_option
@options.state
@options.as_json
def test_command(
    dag: str,
    conf: str,
    logical_date: str | None,
    retries: bool,
    project: Path,
    state: Path | None,
    as_json: bool,
) -> None:
    """Run a Dag once in one process, and show its tasks with all that they log.

    The files are those of the project folder as they are now. No scheduler takes part, and no platform gets a run, an
    XCom or a Dag version: the test has a database of its own, which is removed. What the tasks write elsewhere, they
    write. The Dag gets the connections, variables and databases of fleet.yaml, and no others. While the platform is
    up, the test is a fork of its process that has imported Airflow, and starts at once.

    The exit code is 0 if the run succeeded, 1 if it failed, and 2 if there was no run.

    \b
    Example:
      airfleet dag test sales
      airfleet dag test sales --conf '{"day": "2026-11-29"}' --logical-date 2026-11-29
    """
    from airfleet.operations import dag_runs, dag_tests  # noqa: PLC0415 - `--help` needs none of it

    moment = options.read_moment(logical_date).isoformat() if logical_date else None
    told = dag_runs.parse_conf(read_conf(conf))
    project = find_project(project)
    fleet, folder = read_fleet(project), find_state(project, state)
    dags = project / "dags"
    if not dags.is_dir():
        raise UsageError("the project has no folder dags", where=str(project), hint="airfleet init")
    wanted = DagTestRequest(
        dag=dag,
        dags=str(dags.absolute()),
        database="",
        templates="",
        conf=json.loads(told),
        logical_date=moment,
        retries=retries,
        as_json=as_json,
    )
    with dag_tests.prepare(fleet, project, folder, wanted, lambda line: click.echo(line, err=True)) as prepared:
        code = prepared.run_warm()
    if code is None:
        enter(project, fleet, state)
        with dag_tests.prepare(fleet, project, folder, wanted, lambda _: None) as prepared:
            code = prepared.run_cold()
    raise SystemExit(code)
