"""The scheduler; with LocalExecutor it is also the parent of every task on this machine."""

from __future__ import annotations

from typing import Literal

from airfleet.components.base import Component, Heartbeat, Process

# The last two are what a task needs: each is forked from here.
MODULES = (
    "airflow.jobs.scheduler_job_runner",
    "airfleet_provider.executors.local_executor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.dag_processing.dagbag",
)


# What it needs to hand tasks to Celery instead.
CELERY_MODULES = (MODULES[0], "airflow.providers.celery.executors.celery_executor")


def describe(*, drain_s: float, executor: Literal["local", "celery"] = "local") -> Component:
    """A scheduler that, where it runs tasks itself, is given `drain_s` seconds at a stop to let them finish."""
    is_local = executor == "local"
    return Component(
        name="scheduler",
        processes=(
            Process(
                name="scheduler",
                commands=(
                    ("airflow", "scheduler", "--skip-serve-logs"),  # the api-server reads the same folder
                ),
                health=Heartbeat("SchedulerJob"),
                after=("metadata",) if is_local else ("metadata", "rabbitmq"),
                preload=MODULES if is_local else CELERY_MODULES,
                stop_timeout_s=drain_s if is_local else 10,
            ),
        ),
    )
