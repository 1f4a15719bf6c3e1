"""The Celery worker: it takes tasks from the broker and is the parent of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from airfleet.components import celery
from airfleet.components.health import ConsumerCheck
from airfleet.components.model import BrokerLink, Component, Credentials, File, Process, Site
from airfleet.components.postgresql import result_database
from airfleet.spec.fleet import Fleet
from airfleet_provider.contract import environment

NAME = "worker"
# Tasks need the last two modules, and are forked from this process.
MODULES = (
    "airflow.providers.celery.executors.celery_executor",
    "airflow.providers.celery.cli.celery_command",
    "airfleet_provider.compat.calls.celery_processes:import_commands",
    "airflow.sdk.execution_time.task_runner",
    "airflow.dag_processing.dagbag",
)
QUEUE = POOL = "default"


def mark(state: Path) -> Path:
    """Return the file that exists while the worker is drained."""
    return state / "drained" / POOL


def notes(state: Path) -> Path:
    """Return the folder of the worker's notes about its state."""
    return state / "workers"


def list_marks(state: Path) -> tuple[Path, ...]:
    """Return the files of which each drains the worker: the mark of a command, and what a page has drained."""
    return mark(state), notes(state) / environment.name_page_drain(POOL)


def list_queues(fleet: Fleet) -> tuple[str, ...]:
    """Return the queues of one machine, with the default queue, whatever its name is."""
    default = fleet.airflow.get("operators", {}).get("default_queue", QUEUE)
    return tuple(dict.fromkeys((default, QUEUE)))


def describe(
    fleet: Fleet,
    site: Site,
    credentials: Credentials,
    broker: BrokerLink,
    *,
    drain_s: float,
    reports: Mapping[str, str],
) -> Component:
    """Describe one worker with all slots of the fleet. At a stop, its tasks have `drain_s` seconds to finish.

    `reports` has the variable with the URL at which it reports.
    """
    assert credentials.results is not None  # noqa: S101 - made beside the broker
    state, names = site.state, list_queues(fleet)
    dsn = site.dsn(result_database.DATABASE, result_database.WRITER, credentials.results.writer, driver="psycopg2")
    text = celery.render_worker(broker.consumer, dsn, names, broker.kind, broker.signing, broker.authorities)
    link = File(broker.folder / "celery-worker.json", text)
    command = (
        *(
            "airflow",
            "celery",
            "worker",
            "--queues",
            ",".join(list_queues(fleet)),
            "--concurrency",
            str(fleet.parallelism),
        ),
        "--skip-serve-logs",  # the api-server reads logs from the same folder
    )
    process = Process(
        name=NAME,
        commands=(command,),
        health=ConsumerCheck(broker.consumer, QUEUE, list_marks(state), broker.authorities),
        after=("metadata", "rabbitmq"),
        stops_after=("scheduler",),
        preload=MODULES,
        env={
            environment.POOL: POOL,
            environment.DRAINED: str(mark(state)),
            environment.WORKERS: str(notes(state)),
            environment.CELERY: str(link.path),
            **reports,
        },
        stop_timeout_s=drain_s,
    )
    return Component(name=NAME, processes=(process,), files=(link,))
