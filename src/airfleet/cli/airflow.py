"""`airfleet airflow …`: Airflow's own command line, against this platform."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.errors import UsageError
from airfleet.runners.local import launch as launching


@click.command(
    "airflow",
    short_help="Run Airflow's own command line against this platform.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@options.project_option
@options.state
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(project: Path, state: Path | None, arguments: tuple[str, ...]) -> None:
    """Run Airflow's own command line with the configuration of this platform; it replaces this process.

    \b
    Example:
      airfleet airflow dags list
    """
    project = launching.find_project(project)
    folder = launching.find_state(project, state)
    if folder.read_dsn() is None:
        raise UsageError("no platform was ever up here", where=str(folder.root), hint="airfleet up")
    inherited = launching.choose_inherited(os.environ)
    environment = launching.build_environment(inherited, {}, project, folder.root)
    os.execve(sys.executable, [sys.executable, "-m", "airflow", *arguments], environment)
