"""The image: one process that has imported Airflow, from which the runner forks every Airflow process."""

from __future__ import annotations

from airfleet.components.health import ReadyCheck
from airfleet.components.model import Component, Process, Site

# Imported once, before anything forks: what every component needs. The rest each imports for itself, side by side.
MODULES = (
    "airflow.cli.cli_parser",
    "airflow.api_fastapi.app",
    "airflow.api_fastapi.execution_api.app",
    "airflow.api_fastapi.execution_api.routes",
    "airfleet_provider.access.manager",
    "airflow.providers.fab.www.security_appless",
    # Every process would do these at its first query, for most of a second.
    "airflow.models:import_all_models",
    "sqlalchemy.orm:configure_mappers",
)

NAME = "image"


def describe(site: Site) -> Component:
    """A process that takes orders over the descriptor that its runner adds as the last word of its command line."""
    command = (str(site.python), "-m", "airfleet_provider.processes.fork_server", *MODULES)
    return Component(name=NAME, processes=(Process(name=NAME, commands=(command,), health=ReadyCheck()),))
