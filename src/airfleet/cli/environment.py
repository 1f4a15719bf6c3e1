"""The step of a command that needs Airflow: from where airfleet is installed to where Airflow is."""

from __future__ import annotations

from pathlib import Path

from airfleet.cli.console import say
from airfleet.runners.local import environment
from airfleet.spec.fleet import Fleet
from airfleet.workspace.project import find_state


def enter(project: Path, fleet: Fleet, state: Path | None) -> None:
    """Return when Airflow is beside airfleet; otherwise run this same command where it is, and do not return.

    Raises AirfleetError when such an environment cannot be made.
    """
    folder = find_state(project, state)
    environment.enter(project, fleet.requirements, folder, say)


def enter_made(project: Path, fleet: Fleet, state: Path | None) -> None:
    """Do what `enter` does where the environment was made before; return where it was not, and make nothing."""
    folder = find_state(project, state)
    if not environment.is_beside() and environment.find(environment.read_recipe(project, fleet.requirements), folder):
        enter(project, fleet, state)
