"""Airflow's cluster policy: sets the queue of each task, and the jitter of crons, when a Dag file is loaded.

Every process of Airflow imports the policy before other code. So this module also makes lookups of variables and
connections report outages.
"""

from __future__ import annotations

from typing import Any

from airflow.exceptions import AirflowClusterPolicyViolation
from airflow.policies import hookimpl

from airfleet_provider.compat.calls import config, timetables
from airfleet_provider.compat.patches.secret_lookups import tell_outages
from airfleet_provider.contract import jitter_rules
from airfleet_provider.routing.rules import Routing, UnknownPoolError

# At import, because Airflow calls no function of a policy when it loads the policy.
tell_outages()


@hookimpl  # type: ignore[untyped-decorator]
def dag_policy(dag: Any) -> None:  # noqa: ANN401 - a Dag
    """Let the runs of the Dag's cron begin later, if a rule of fleet.yaml says so."""
    rules = jitter_rules.parse(config.read_rules(jitter_rules.SECTION, jitter_rules.KEY))
    if not jitter_rules.find_delay(rules, dag.dag_id):
        return
    from airfleet_provider.routing.jitter import delay  # noqa: PLC0415 - it imports Airflow's timetables

    timetable = timetables.to_core(dag.timetable)
    if (later := delay(timetable, dag.dag_id, rules)) is not timetable:
        dag.timetable = later


@hookimpl  # type: ignore[untyped-decorator]
def task_policy(task: Any) -> None:  # noqa: ANN401 - an operator of any kind
    """Set the queue of the task.

    Raises:
        AirflowClusterPolicyViolation: the task requests an unknown worker pool; the message becomes an import error.
    """
    text = config.read_rules("airfleet", "routing")
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
