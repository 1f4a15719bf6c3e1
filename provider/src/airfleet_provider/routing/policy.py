"""Airflow's cluster policy: sends each task to a queue when its Dag file is loaded, as fleet.yaml says.

Every process of Airflow loads it before anything else, so it is also where lookups are made to tell outages.
"""

from __future__ import annotations

from typing import Any

from airflow.exceptions import AirflowClusterPolicyViolation
from airflow.policies import hookimpl

from airfleet_provider.compat.calls import config
from airfleet_provider.compat.patches.secret_lookups import tell_outages
from airfleet_provider.routing.rules import Routing, UnknownPoolError

# Airflow calls nothing of a policy when it loads it.
tell_outages()


@hookimpl  # type: ignore[untyped-decorator]
def task_policy(task: Any) -> None:  # noqa: ANN401 - an operator of any kind
    """Give the task its queue; one that asks for an unknown pool does not load, and its Dag says why."""
    text = config.read_setting("airfleet", "routing")
    if not text:
        return
    try:
        task.queue = Routing.from_json(text).choose(
            queue=task.queue,
            default=config.read_setting("operators", "default_queue"),
            config=task.executor_config,
            dag=task.dag_id,
            task=task.task_id,
            operator=task.task_type,
        )
    except UnknownPoolError as error:
        raise AirflowClusterPolicyViolation(str(error)) from None
