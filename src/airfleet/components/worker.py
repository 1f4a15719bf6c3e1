"""The Celery worker: takes tasks from the broker and is the parent of each."""

from __future__ import annotations

from pathlib import Path

from airfleet.components.base import Component, Consumed, Process
from airfleet.components.rabbitmq import Node
from airfleet.spec.fleet import Fleet

NAME = "worker"
# The last two are what a task needs: each is forked from here.
MODULES = (
    "airflow.providers.celery.executors.celery_executor",
    "airflow.providers.celery.cli.celery_command",
    "airflow.sdk.execution_time.task_runner",
    "airflow.dag_processing.dagbag",
)
QUEUE = POOL = "default"


def mark(state: Path) -> Path:
    """The file that says that the worker is drained."""
    return state / "drained" / POOL


def notes(state: Path) -> Path:
    """Where the worker says how it stands."""
    return state / "workers"


def describe(fleet: Fleet, broker: Node, state: Path, *, drain_s: float) -> Component:
    """One worker with all of the fleet's slots, which is given `drain_s` seconds at a stop to let its tasks finish."""
    command = (
        *("airflow", "celery", "worker", "--queues", QUEUE, "--concurrency", str(fleet.parallelism)),
        "--skip-serve-logs",  # the api-server reads the same folder
        *("--without-mingle", "--without-gossip"),  # there is no other worker to talk to
    )
    process = Process(
        name=NAME,
        commands=(command,),
        health=Consumed(broker.url, QUEUE, unless=mark(state)),
        after=("metadata", "rabbitmq"),
        stops_after=("scheduler",),
        preload=MODULES,
        env={"AIRFLEET_DRAINED": str(mark(state)), "AIRFLEET_WORKERS": str(notes(state))},
        stop_timeout_s=drain_s,
    )
    return Component(name=NAME, processes=(process,))
