"""The image: one process that has imported Airflow, from which the runner forks every Airflow process."""

from __future__ import annotations

from airfleet.components.base import Component, Process, Site, Warm

# Imported once, before anything forks: what at least two components need. The order is what the api-server needs first.
MODULES = (
    "airflow.cli.cli_parser",
    "airflow.api_fastapi.app",
    "airflow.api_fastapi.execution_api.app",
    "airflow.api_fastapi.execution_api.routes",
    "airflow.executors.local_executor",
    "airflow.jobs.scheduler_job_runner",
    "airflow.dag_processing.manager",
    "airflow.dag_processing.processor",
    "airflow.dag_processing.dagbag",
    "airflow.jobs.triggerer_job_runner",
)

NAME = "image"


def describe(site: Site) -> Component:
    """A process that takes orders over the descriptor that its runner adds as the last word of its command line."""
    command = (str(site.python), "-m", "airfleet_provider.nursery", *MODULES)
    return Component(name=NAME, processes=(Process(name=NAME, commands=(command,), health=Warm()),))
