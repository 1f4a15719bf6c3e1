"""`airfleet migrate …`: the way from Airflow 2."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from click.core import ParameterSource

from airfleet.cli import options
from airfleet.cli.console import say
from airfleet.errors import UsageError

if TYPE_CHECKING:
    from airfleet.operations.migration.assessment import Assessment
    from airfleet.operations.migration.metadata import Metadata

# The files of `--output`.
REPORT, DIFF, FLEET, REQUIREMENTS = "report.md", "migration.diff", "fleet.yaml", "requirements.txt"

_file = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group("migrate", short_help="Come from Airflow 2: assess, rehearse, cut over.")
def command() -> None:
    """Move a platform of Airflow 2 to airfleet.

    \b
    Example:
      airfleet migrate assess old/dags --config old/airflow.cfg --output move
      airfleet migrate rehearse
      airfleet migrate cutover sales_daily
    """


@command.command("assess")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--config", type=_file, help="The airflow.cfg of Airflow 2.")
@click.option("--requirements", type=_file, help="The requirements.txt of Airflow 2.")
@click.option("--dump", type=_file, help="A plain dump of the metadata database (pg_dump), or its SQLite file.")
@click.option(
    "--database-env",
    metavar="NAME",
    help="The environment variable with the URL of the metadata database, postgresql:// or sqlite://. It is only read.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="A new folder for report, diff, fleet.yaml, requirements."
)
@click.option("--diff", "as_diff", is_flag=True, help="Print the diff of all rewrites on stdout.")
@options.as_json
def assess_command(
    folder: Path,
    config: Path | None,
    requirements: Path | None,
    dump: Path | None,
    database_env: str | None,
    output: Path | None,
    as_diff: bool,
    as_json: bool,
) -> None:
    """Say what a folder of Airflow 2 Dags needs to run on Airflow 3.3, and prepare it. FOLDER itself stays as it is.

    Each finding says what Airflow 3.3 does there and what to do. ruff's AIR rules and rules of airfleet's own rewrite a
    copy; `--diff` shows the changes. SLAs and mails about failures become `slas` and `notifications` of a new
    fleet.yaml. Connections, variables and slot pools of the metadata database go there too, with a reference in place
    of each secret: no value of a secret is read.

    \b
    Example:
      airfleet migrate assess old/dags
      airfleet migrate assess old/dags --config old/airflow.cfg --dump airflow.sql --output move
      AIRFLOW_DB=postgresql://… airfleet migrate assess old/dags --database-env AIRFLOW_DB --json
    """
    from airfleet.operations.migration import assessment, report  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.workspace import airflow_version  # noqa: PLC0415

    if as_json and as_diff:
        raise UsageError("--json has the diff already", hint="leave --diff out")
    if output is not None and output.exists():
        raise UsageError("it exists already", where=str(output), hint="name a new folder")
    version, lock = list(airflow_version.find_locks().items())[-1]
    found = assessment.assess(
        folder,
        airflow=version,
        lock=lock.read_text(),
        config=config,
        requirements=requirements,
        database=_read_database(dump, database_env),
    )
    if output is not None:
        _write(output, found)
    if as_json:
        click.echo(json.dumps(assessment.to_json(found), indent=2))
    elif as_diff:
        click.echo(found.rewrite.diff, nl=False)
    else:
        for line in report.list_lines(found):
            click.echo(line)


@command.command("rehearse")
@options.project_option
@options.state
@click.option(
    "--database-env",
    default="AIRFLOW_2_DATABASE",
    show_default=True,
    metavar="NAME",
    help="The environment variable with the URL of the old metadata database. It is only read.",
)
@click.option("--dag", "dags", multiple=True, metavar="DAG", help="Run this Dag of the project again, and compare.")
@click.option(
    "--runs", type=click.IntRange(1, 100), default=1, show_default=True, help="With --dag: its last successful runs."
)
@click.option(
    "--timeout", type=click.IntRange(min=1), default=600, show_default=True, help="With --dag: seconds for a run."
)
@click.option(
    "--table", "tables", multiple=True, metavar="TABLE", help="With --dag: schema.table[:column,…] to compare."
)
@click.option(
    "--tables-env",
    nargs=2,
    default=("OLD_TABLES", "NEW_TABLES"),
    show_default=True,
    metavar="OLD NEW",
    help="The environment variables with the URLs of the databases that have the tables. They are only read.",
)
@options.as_json
def rehearse_command(
    project: Path,
    state: Path | None,
    database_env: str,
    dags: tuple[str, ...],
    runs: int,
    timeout: int,
    tables: tuple[str, ...],
    tables_env: tuple[str, str],
    as_json: bool,
) -> None:
    """Copy Airflow 2's metadata database, upgrade the copy with Airflow 3's own migrations, and compare.

    The copy lies in a PostgreSQL of its own below the state folder, which is removed at the end. Neither platform
    notices. Only tables are copied, and nothing that is stored in them runs: no function, and no pickle. Exits with 1
    if the upgrade fails or a table has lost rows.

    With --dag, it runs Dags of the project side by side in place of that: the last successful runs of Airflow 2 again,
    with the same dates and conf, in an Airflow 3 that is made for it and removed at the end. It compares the states of
    tasks, XComs and the named tables with the history, and exits with 1 if something differs. The Dags do what they do:
    they get the connections and variables of AIRFLOW_CONN_… and AIRFLOW_VAR_… in the environment, and no others.

    \b
    Example:
      export AIRFLOW_2_DATABASE=postgresql://reader:…@old-db/airflow
      airfleet migrate rehearse
      AIRFLOW_CONN_DWH=postgres://…@test-db/dwh airfleet migrate rehearse --dag sales_daily --runs 3
    """
    from airfleet.cli.environment import enter  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.operations.migration import rehearsal  # noqa: PLC0415
    from airfleet.runners.local import launch as launching  # noqa: PLC0415
    from airfleet.workspace.project import find_project, find_state, read_fleet  # noqa: PLC0415

    if not dags:
        _refuse_options_of_dags()
    place = find_project(project)
    url = _read_variable(database_env)
    enter(place, read_fleet(place), state)
    folder = find_state(place, state)
    folder.create()
    if dags:
        _compare_runs(place, folder.root, url, dags, runs, float(timeout), tables, tables_env, as_json)
    found = rehearsal.rehearse(url, folder.root, launching.find_postgres(), Path(sys.executable), os.environ, say)
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(found), "lost": found.lost}, indent=2))
    else:
        for line in rehearsal.list_lines(found):
            click.echo(line)
    raise SystemExit(1 if found.lost else 0)


def _refuse_options_of_dags() -> None:
    """Refuse what only --dag reads. Raises UsageError."""
    context = click.get_current_context()
    for name, option in (
        ("runs", "--runs"),
        ("timeout", "--timeout"),
        ("tables", "--table"),
        ("tables_env", "--tables-env"),
    ):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{option} without a Dag", hint=f"airfleet migrate rehearse --dag DAG {option} …")


@command.command("cutover")
@click.argument("dags", nargs=-1, metavar="DAG...")
@options.project_option
@options.state
@click.option(
    "--database-env",
    default="AIRFLOW_2_DATABASE",
    show_default=True,
    metavar="NAME",
    help="The environment variable with the URL of the old metadata database; the login may write there.",
)
@click.option("--back", is_flag=True, help="Let the Dags run in Airflow 2 again.")
@click.option("--list", "as_list", is_flag=True, help="Only show which Dags were moved.")
@click.option(
    "--timeout", type=click.IntRange(min=0), default=3600, show_default=True, help="Seconds to wait for runs."
)
def cutover_command(
    dags: tuple[str, ...],
    project: Path,
    state: Path | None,
    database_env: str,
    back: bool,
    as_list: bool,
    timeout: int,
) -> None:
    """Move scheduled Dags from a running Airflow 2 to this platform, with no run doubled or skipped.

    Each Dag is paused there when no run of it is unfinished. Its last run there is made known here, so that Airflow
    makes the run after it. Then the Dag is unpaused here, unless it was paused there. After an interruption, the same
    command goes on. Dags that wait for each other are moved in one command.

    \b
    Example:
      export AIRFLOW_2_DATABASE=postgresql://airflow:…@old-db/airflow
      airfleet migrate cutover sales_daily
      airfleet migrate cutover sales_daily --back
    """
    from airfleet.operations import metadata_database  # noqa: PLC0415 - `--help` needs none of it
    from airfleet.operations.migration.cutover import airflow_2, airflow_3, journal  # noqa: PLC0415
    from airfleet.operations.migration.cutover.session import Cutover  # noqa: PLC0415
    from airfleet.workspace.project import find_project, find_state, read_fleet  # noqa: PLC0415

    place = find_project(project)
    folder = find_state(place, state).root
    if as_list:
        moved = journal.read(folder)
        for one in moved.values():
            click.echo(f"{one.phase:10} {one.dag_id}  after {one.last or 'no run'}")
        if not moved:
            say("no Dag was moved")
        return
    if not dags:
        raise UsageError("no Dag is named", hint="airfleet migrate cutover DAG…")
    url = _read_variable(database_env)
    with (
        airflow_2.open_platform(url) as old,
        metadata_database.connect(read_fleet(place), place, state, what="Dags") as connection,
    ):
        new = airflow_3.open_platform(connection)
        whole = Cutover(old, new, folder, time.monotonic, time.sleep, say, float(timeout))
        if back:
            whole.bring_back(dags)
        else:
            whole.move(dags)


def _compare_runs(
    project: Path,
    state: Path,
    url: str,
    dags: tuple[str, ...],
    runs: int,
    timeout_s: float,
    tables: tuple[str, ...],
    tables_env: tuple[str, str],
    as_json: bool,
) -> NoReturn:
    from airfleet.operations.migration.side_by_side import report  # noqa: PLC0415
    from airfleet.operations.migration.side_by_side import tables as compared  # noqa: PLC0415
    from airfleet.runners.local import launch as launching  # noqa: PLC0415
    from airfleet.workspace.project import read_fleet  # noqa: PLC0415

    named = [compared.parse_table(one) for one in tables]
    old_tables, new_tables = (_read_variable(name) if named else "" for name in tables_env)
    found = report.run_side_by_side(
        url,
        dags,
        number=runs,
        timeout_s=timeout_s,
        state=state,
        project=project.resolve(),
        binaries=launching.find_postgres(),
        python=Path(sys.executable),
        environment=os.environ,
        settings=read_fleet(project).airflow_environment,
        tell=say,
    )
    if named:
        found = dataclasses.replace(found, tables=tuple(compared.compare_tables(old_tables, new_tables, named)))
    if as_json:
        click.echo(json.dumps(report.to_json(found), indent=2))
    else:
        for line in report.list_lines(found):
            click.echo(line)
    raise SystemExit(0 if found.is_same else 1)


def _read_database(dump: Path | None, variable: str | None) -> Metadata | None:
    from airfleet.operations.migration import metadata  # noqa: PLC0415

    if dump is not None and variable is not None:
        raise UsageError("two databases are named", hint="use --dump or --database-env")
    if dump is not None:
        return metadata.read_dump(dump)
    if variable is None:
        return None
    return metadata.read_url(_read_variable(variable))


def _read_variable(name: str) -> str:
    if not (url := os.environ.get(name)):
        raise UsageError(f"the environment variable {name} is not set", hint=f"export {name}=postgresql://…")
    return url


def _write(folder: Path, found: Assessment) -> None:
    from airfleet.operations.migration import report  # noqa: PLC0415

    folder.mkdir(parents=True)
    texts = {
        REPORT: report.write_markdown(found),
        DIFF: found.rewrite.diff,
        FLEET: found.fleet_file.text,
        REQUIREMENTS: found.requirements,
    }
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    say(f"{folder}: wrote {', '.join(texts)}")
