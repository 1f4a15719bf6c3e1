"""Airflow's cluster policy: sets the queue of each task when its Dag file is loaded, by the rules of fleet.yaml.

Every process of Airflow imports the policy before other code. So this module also makes lookups of variables and
connections report outages.
"""

from __future__ import annotations

from typing import Any

from airflow.exceptions import AirflowClusterPolicyViolation
from airflow.policies import hookimpl

from airfleet_provider.compat.calls import config
from airfleet_provider.compat.patches.secret_lookups import tell_outages
from airfleet_provider.routing.rules import Routing, UnknownPoolError

# At import, because Airflow calls no function of a policy when it loads the policy.
tell_outages()


@hookimpl  # type: ignore[untyped-decorator]
def task_policy(task: Any) -> None:  # noqa: ANN401 - an operator of any kind
    """Set the queue of the task.

    Raises:
        AirflowClusterPolicyViolation: the task requests an unknown worker pool; the message becomes an import error.
    """
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
