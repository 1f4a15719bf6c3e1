"""The releaser: parses what is new in a release, once, and makes the release live in one transaction."""

from __future__ import annotations

from airfleet.components.base import Component, Process


def describe() -> Component:
    return Component(
        name="releaser",
        processes=(
            Process(
                name="releaser",
                commands=(("airflow", "airfleet", "releaser"),),
                after=("metadata",),
                preload=(
                    "airfleet_provider.releaser",
                    "airflow.dag_processing.dagbag",
                    "airflow.providers.standard.operators.bash",
                    "airflow.providers.standard.operators.empty",
                    "airflow.providers.standard.operators.python",
                ),
            ),
        ),
    )
