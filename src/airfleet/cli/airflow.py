"""`airfleet airflow …`: Airflow's own command line, against this platform or this fleet."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from airfleet.cli import options
from airfleet.cli.console import say
from airfleet.errors import UsageError
from airfleet.operations import refusals
from airfleet.runners.local import inherited, warm
from airfleet.workspace.project import find_fleet, find_project, find_state, read_fleet

if TYPE_CHECKING:
    from airfleet.spec.fleet import Fleet


@click.command(
    "airflow",
    short_help="Run Airflow's own command line against this platform.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@options.project_option
@options.state
@click.option("--host", help="Of a fleet: the scheduler host to run it on.  [default: the first that answers]")
@click.option("--own", is_flag=True, hidden=True, help="Another command of airfleet runs this one.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(project: Path, state: Path | None, host: str | None, own: bool, arguments: tuple[str, ...]) -> None:
    """Run Airflow's own command line with the configuration of this platform.

    While the platform is up, its process that has imported Airflow already is forked, so the command starts at once.

    Of a fleet it runs on a scheduler host, with that host's configuration and as the user of its services; input,
    output, terminal, Ctrl-C and exit code are as if it ran here. Files that it names are files of that host.

    \b
    Example:
      airfleet airflow dags list
      airfleet airflow users create --username ann --role Viewer --email a@example.com --firstname A --lastname N
    """
    if warning := refusals.warn_of_secret(arguments):
        click.echo(f"warning: {warning}", err=True)
    project = find_project(project)
    fleet = find_fleet(project, find_state(project, state), say)
    if not own:
        refusals.check(arguments, fleet=fleet is not None)
    _run(project, state, fleet, host, arguments)


def give_input(text: str) -> None:
    """Let a text be the standard input of the command that this process runs next. No file keeps a name for it."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.flush()
        file.seek(0)
        os.dup2(file.fileno(), sys.stdin.fileno())


def run_airflow(project: Path, state: Path | None, host: str | None, arguments: tuple[str, ...]) -> NoReturn:
    """Run a command line of Airflow where this project's platform or fleet runs, and exit with its code."""
    project = find_project(project)
    _run(project, state, find_fleet(project, find_state(project, state), say), host, arguments)


def _run(
    project: Path, state: Path | None, fleet: Fleet | None, host: str | None, arguments: tuple[str, ...]
) -> NoReturn:
    if fleet:
        from airfleet.operations import commands  # noqa: PLC0415 - one machine needs nothing that speaks SSH

        connection = commands.reach(commands.choose(fleet, host), project, say)
        try:
            raise SystemExit(commands.run(connection, arguments, token=secrets.token_hex(8)))
        finally:
            connection.close()
    if host:
        raise UsageError("--host is of a fleet", where=str(project), hint="fleet.yaml names no hosts")
    folder = find_state(project, state)
    if folder.read_dsn() is None:
        raise UsageError("no platform has ever run in this project", where=str(folder.root), hint="airfleet up")
    variables = inherited.choose_inherited(os.environ)
    environment = inherited.build_environment(variables, {}, project, folder.root)
    if (code := warm.run(folder, arguments, environment)) is not None:
        raise SystemExit(code)
    from airfleet.cli.environment import enter  # noqa: PLC0415 - a platform that is up needs none of it

    enter(project, read_fleet(project), state)
    # -P: no module of the folder that the user is in takes the place of another, as for the command `airflow`.
    os.execve(sys.executable, [sys.executable, "-P", "-m", "airflow", *arguments], environment)
