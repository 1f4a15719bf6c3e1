"""Where a task goes: its own queue, the pool it asks for, or the first rule that fits."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from airfleet_provider.routing.rules import Routing, UnknownPoolError

ROUTING = Routing.from_json(
    json.dumps(
        {
            "pools": {"default": "default", "memory": "ram"},
            "rules": [{"operator": "BashOperator", "queue": "io"}, {"dag": "etl_.*", "task": "load", "queue": "cpu"}],
        }
    )
)


def choose(**given: object) -> str:
    task = {"queue": "default", "default": "default", "config": None, "dag": "a", "task": "b", "operator": "C", **given}
    return ROUTING.choose(**task)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "queue"),
    [
        ({}, "default"),
        ({"queue": "mine", "operator": "BashOperator"}, "mine"),
        ({"config": {"airfleet": {"pool": "memory"}}, "operator": "BashOperator"}, "ram"),
        ({"operator": "BashOperator", "dag": "etl_a", "task": "load"}, "io"),
        ({"dag": "etl_a", "task": "load"}, "cpu"),
        ({"dag": "my_etl_a", "task": "load"}, "default"),
        ({"config": {"airfleet": "odd"}}, "default"),
    ],
)
def test_the_first_that_fits_wins(given: dict[str, object], queue: str) -> None:
    assert choose(**given) == queue


def test_a_pool_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownPoolError, match="known pools: default, memory"):
        choose(config={"airfleet": {"pool": "gpu"}})


def test_airflow_asks_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow import settings  # noqa: PLC0415
    from airflow.exceptions import AirflowClusterPolicyViolation  # noqa: PLC0415

    monkeypatch.setenv("AIRFLOW__AIRFLEET__ROUTING", json.dumps({"pools": {"memory": "ram"}}))
    asks = {"airfleet": {"pool": "memory"}}
    task = SimpleNamespace(queue="default", executor_config=asks, dag_id="a", task_id="b", task_type="C")
    manager = settings.get_policy_plugin_manager()
    settings.load_policy_plugins(manager)
    settings.task_policy(task)
    assert task.queue == "ram"
    task.queue, task.executor_config = "default", {"airfleet": {"pool": "gpu"}}
    with pytest.raises(AirflowClusterPolicyViolation, match=r"a\.b requests the worker pool 'gpu'"):
        settings.task_policy(task)
