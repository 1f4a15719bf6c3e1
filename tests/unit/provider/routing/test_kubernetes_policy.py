"""The policy that an export for Kubernetes writes sends tasks where airfleet's rules send them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airfleet.operations.kubernetes import routing
from airfleet.spec import load
from airfleet_provider.routing.rules import Routing, RoutingRule

FLEET = """\
name: sales_fleet
hosts:
  web1: {address: 10.0.0.1, roles: [web, balancer, scheduler, database, broker]}
  worker1: {address: 10.0.0.3, pools: [default, memory]}
pools:
  default: {concurrency: 16, cpus: 4, memory: 8G, drain: 600}
  memory: {concurrency: 4, cpus: 8, memory: 64G, queues: [memory, ml]}
routing:
  - {dag: "sales_.*", operator: PythonOperator, queue: memory}
  - {task: "train", queue: ml}
"""


def run_policy(code: str, **task: Any) -> Any:  # noqa: ANN401 - an operator of any kind
    written: dict[str, Any] = {}
    exec(compile(code, "airflow_local_settings.py", "exec"), written)  # noqa: S102 - the code that the chart runs
    given = {"queue": "default", "executor": None, "executor_config": {}, "task_type": "BashOperator", **task}
    one = SimpleNamespace(**given)
    written["task_policy"](one)
    return one


@pytest.mark.parametrize(
    "task",
    [
        {"dag_id": "sales_daily", "task_id": "load", "task_type": "PythonOperator"},
        {"dag_id": "sales_daily", "task_id": "load"},
        {"dag_id": "other", "task_id": "train"},
        {"dag_id": "other", "task_id": "train", "queue": "own"},
        {"dag_id": "other", "task_id": "x", "executor_config": {"airfleet": {"pool": "memory"}}},
    ],
)
def test_a_task_gets_the_queue_that_it_gets_on_the_fleet(task: dict[str, Any]) -> None:
    fleet = load.parse(FLEET, file="fleet.yaml", default_name="", cpus=4)
    rules = tuple(RoutingRule(one.queue, one.dag, one.task, one.operator) for one in fleet.routing)
    here = Routing({pool.name: pool.queues[0] for pool in fleet.pools}, rules).choose(
        queue=task.get("queue", "default"),
        default="default",
        config=task.get("executor_config"),
        dag=task["dag_id"],
        task=task["task_id"],
        operator=task.get("task_type", "BashOperator"),
    )
    assert run_policy(routing.render(fleet, ()), **task).queue == here
