"""The scheduler; with LocalExecutor it is also the parent of every task on this machine."""

from __future__ import annotations

from airfleet.components.base import Component, Heartbeat, Process

# The last two are what a task needs: each is forked from here.
MODULES = (
    "airflow.jobs.scheduler_job_runner",
    "airfleet_provider.executors.local_executor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.dag_processing.dagbag",
)


def describe(*, drain_s: float) -> Component:
    """A scheduler that is given `drain_s` seconds at a stop, to let running tasks finish."""
    return Component(
        name="scheduler",
        processes=(
            Process(
                name="scheduler",
                commands=(
                    ("airflow", "scheduler", "--skip-serve-logs"),  # the api-server reads the same folder
                ),
                health=Heartbeat("SchedulerJob"),
                after=("metadata",),
                preload=MODULES,
                stop_timeout_s=drain_s,
            ),
        ),
    )
