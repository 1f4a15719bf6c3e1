"""The releaser: it parses the changed files of a release or folder once, and publishes all Dags in one transaction."""

from __future__ import annotations

from airfleet.components.model import Component, Process


def describe() -> Component:
    return Component(
        name="releaser",
        processes=(
            Process(
                name="releaser",
                commands=(("airflow", "airfleet", "releaser"),),
                after=("metadata",),
                preload=(
                    "airfleet_provider.releases.agent",
                    "airflow.dag_processing.collection",
                    "airflow.dag_processing.dagbag",
                    "airflow.models.serialized_dag",
                    "airflow.providers.standard.operators.bash",
                    "airflow.providers.standard.operators.empty",
                    "airflow.providers.standard.operators.python",
                    "airflow.providers.standard.operators.trigger_dagrun",
                    "airflow.sdk.execution_time.supervisor",
                    "airflow.serialization.serialized_objects",
                    "watchfiles",
                ),
            ),
        ),
    )
