"""The Dag processor. It runs the callbacks of Dags only: the releaser parses their files."""

from __future__ import annotations

from airfleet.components.health import HeartbeatCheck
from airfleet.components.model import Component, Process


def describe() -> Component:
    return Component(
        name="dag-processor",
        processes=(
            Process(
                name="dag-processor",
                commands=(("airflow", "airfleet", "dag-processor"),),
                health=HeartbeatCheck("DagProcessorJob"),
                after=("metadata",),
                preload=("airflow.dag_processing.manager", "airflow.dag_processing.processor"),
            ),
        ),
    )
