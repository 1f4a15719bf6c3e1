"""Continue a command that needs Airflow in the environment in which Airflow is installed."""

from __future__ import annotations

from pathlib import Path

from airfleet.cli.console import say
from airfleet.runners.local import environment
from airfleet.spec.fleet import Fleet
from airfleet.workspace.project import find_state


def enter(project: Path, fleet: Fleet, state: Path | None) -> None:
    """Return if Airflow is installed beside airfleet. Otherwise run the command in Airflow's environment and exit.

    Raises AirfleetError if that environment cannot be made.
    """
    folder = find_state(project, state)
    environment.enter(project, fleet.requirements, folder, say)


def enter_made(project: Path, fleet: Fleet, state: Path | None) -> None:
    """Like `enter`, but only if the environment exists already. Otherwise return and make nothing."""
    folder = find_state(project, state)
    if not environment.is_beside() and environment.find(environment.read_recipe(project, fleet.requirements), folder):
        enter(project, fleet, state)
