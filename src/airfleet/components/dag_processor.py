"""The Dag processor: parses Dag files and stores what they say."""

from __future__ import annotations

from airfleet.components.base import Component, Heartbeat, Process


def describe() -> Component:
    return Component(
        name="dag-processor",
        processes=(
            Process(
                name="dag-processor",
                commands=(("airflow", "dag-processor"),),
                health=Heartbeat("DagProcessorJob"),
                after=("metadata",),
                preload=("airflow.dag_processing.manager", "airflow.dag_processing.processor"),
            ),
        ),
    )
