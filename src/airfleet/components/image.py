"""The image: one process that has imported Airflow. The runner forks every Airflow process from it."""

from __future__ import annotations

from airfleet.components.health import ReadyCheck
from airfleet.components.model import Component, Process, Site

# The modules that every component needs, imported once before the forks. Components import the rest in parallel.
MODULES = (
    "airflow.cli.cli_parser",
    "airflow.api_fastapi.app",
    "airflow.api_fastapi.execution_api.app",
    "airflow.api_fastapi.execution_api.routes",
    "airfleet_provider.access.manager",
    "airflow.providers.fab.www.security_appless",
    # Without these calls, every process would make them at its first query, for most of a second.
    "airflow.models:import_all_models",
    "sqlalchemy.orm:configure_mappers",
    # A command that is forked does not list the provider's commands again, where another process makes this patch.
    "airfleet_provider.compat.patches.db_clean:narrow_cleanup",
)

NAME = "image"


def describe(site: Site) -> Component:
    """Describe the image. Its runner appends a file descriptor to the command, and sends requests to fork there."""
    command = (str(site.python), "-m", "airfleet_provider.processes.fork_server", *MODULES)
    return Component(name=NAME, processes=(Process(name=NAME, commands=(command,), health=ReadyCheck()),))
