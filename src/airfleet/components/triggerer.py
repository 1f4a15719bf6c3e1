"""The triggerer: it runs the triggers of deferred tasks."""

from __future__ import annotations

from airfleet.components.health import HeartbeatCheck
from airfleet.components.model import Component, Process


def describe() -> Component:
    return Component(
        name="triggerer",
        processes=(
            Process(
                name="triggerer",
                commands=(
                    ("airflow", "triggerer", "--skip-serve-logs"),  # the api-server reads logs from the same folder
                ),
                health=HeartbeatCheck("TriggererJob"),
                after=("metadata",),
                preload=(
                    "airflow.jobs.triggerer_job_runner",
                    "airfleet_provider.compat.patches.child_exits:notice_exits",
                ),
            ),
        ),
    )
