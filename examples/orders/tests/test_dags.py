"""The Dags load, are wired as the README says, and keep the rules of the house."""

from __future__ import annotations

import ast
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from include.api import IncompleteDay
from include.models import read_models

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

PROJECT = Path(__file__).resolve().parent.parent
FLEET = yaml.safe_load((PROJECT / "fleet.yaml").read_text())
PRODUCTION = yaml.safe_load((PROJECT / "fleet.production.yaml").read_text())


@pytest.fixture(scope="session")
def bag(tmp_path_factory: pytest.TempPathFactory) -> DagBag:
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(PROJECT / "dags"))


def test_all_load_and_are_called_as_the_check_wants(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == {"orders_ingest", "orders_marts", "orders_scoring", "orders_payouts"}
    assert all(re.fullmatch(FLEET["checks"]["dag_id_pattern"], name) for name in bag.dags)


def test_every_task_has_an_owner_retries_and_an_end(bag: DagBag) -> None:
    for task in all_tasks(bag):
        assert (task.owner, task.retries) == ("shop-data", 2)
        assert task.execution_timeout <= timedelta(minutes=15) or task.task_id == "wait_for_bank"


def test_whatever_calls_the_api_takes_a_slot_of_it_and_is_under_its_breaker(bag: DagBag) -> None:
    rule = FLEET["breakers"]["shop_api"]
    guarded = {
        task.task_id
        for task in all_tasks(bag)
        if re.fullmatch(rule["dag"], task.dag_id) and re.fullmatch(rule["task"], task.task_id)
    }
    assert guarded == {"wait_for_close", "fetch_orders"}
    assert {task.task_id for task in all_tasks(bag) if task.pool == "shop_api"} == guarded


def test_waiting_holds_no_slot_and_asks_at_sane_intervals(bag: DagBag) -> None:
    close = bag.dags["orders_ingest"].get_task("wait_for_close")
    bank = bag.dags["orders_payouts"].get_task("wait_for_bank")
    assert close.mode == "reschedule"
    assert bank.deferrable
    for sensor in (close, bank):
        assert 10 <= sensor.poke_interval <= 300
        assert 3600 <= sensor.timeout <= 48 * 3600
    # Airflow counts the wait of a deferred task into its execution_timeout.
    assert bank.execution_timeout.total_seconds() > bank.timeout


def test_the_tasks_with_limits_of_memory_are_those_that_hold_data(bag: DagBag) -> None:
    rule = FLEET["task_limits"]["scoring"]
    assert {task.task_id for task in bag.dags[rule["dag"]].tasks if re.fullmatch(rule["task"], task.task_id)} == {
        "train",
        "score",
    }


def test_every_slot_pool_of_a_task_is_in_fleet_yaml(bag: DagBag) -> None:
    assert {task.pool for task in all_tasks(bag)} - {"default_pool"} == set(FLEET["slot_pools"])


def test_nothing_is_published_before_every_check_has_passed(bag: DagBag) -> None:
    dag = bag.dags["orders_marts"]
    names = [model.name for model in read_models()]
    assert dag.get_task("publish").upstream_task_ids == {f"check_{name}" for name in names}
    for model in read_models():
        assert dag.get_task(f"build_{model.name}").upstream_task_ids == {f"check_{name}" for name in model.needs}


def test_assets_hand_over_from_dag_to_dag(bag: DagBag) -> None:
    outlets = {(task.dag_id, asset.name) for task in all_tasks(bag) for asset in task.outlets or ()}
    assert outlets == {
        ("orders_ingest", "orders.raw"),
        ("orders_marts", "orders.marts"),
        ("orders_scoring", "orders.scores"),
        ("orders_payouts", "orders.payouts"),
    }
    starts = {
        name: [asset.name for asset in bag.dags[name].timetable.asset_condition.objects]
        for name in ("orders_marts", "orders_scoring", "orders_payouts")
    }
    assert starts == {
        "orders_marts": ["orders.raw"],
        "orders_scoring": ["orders.marts"],
        "orders_payouts": ["orders.marts"],
    }


def test_another_try_is_for_outages_and_not_for_mistakes(bag: DagBag) -> None:
    rule = FLEET["retries"]["hopeless"]
    assert rule["action"] == "fail"
    assert all(re.fullmatch(rule["dag"], name) for name in bag.dags)
    for error, is_hopeless in (
        (KeyError, True),
        (MemoryError, True),
        (IncompleteDay, True),
        (httpx.ConnectError, False),
        (httpx.HTTPStatusError, False),
    ):
        name = f"{error.__module__}.{error.__qualname__}"
        assert any(re.fullmatch(pattern, name) for pattern in rule["errors"]) is is_hopeless, name


def test_every_promise_is_about_a_dag_of_this_project(bag: DagBag) -> None:
    assert {rule["dag"] for rule in FLEET["slas"].values()} == {"orders_ingest", "orders_marts", "orders_scoring"}
    assert {rule["dag"] for rule in FLEET["slas"].values()} <= set(bag.dags)


def test_in_production_the_first_rule_that_fits_sends_a_task_to_its_pool(bag: DagBag) -> None:
    chosen: dict[str, set[str]] = {}
    for task in all_tasks(bag):
        rules = (
            rule["queue"]
            for rule in PRODUCTION["routing"]
            if re.fullmatch(rule["dag"], task.dag_id) and re.fullmatch(rule.get("task", ".*"), task.task_id)
        )
        chosen.setdefault(next(rules, "default"), set()).add(task.task_id)
    assert chosen["memory"] == {"train", "score"}
    assert chosen["io"] == {task.task_id for task in bag.dags["orders_ingest"].tasks}
    assert set(chosen) == set(PRODUCTION["pools"])


@pytest.mark.parametrize("path", sorted((PROJECT / "dags").glob("*.py")), ids=lambda path: path.stem)
def test_a_dag_file_imports_no_client_when_it_is_parsed(path: Path) -> None:
    heavy = {"httpx", "numpy", "pandas", "psycopg", "psycopg2", "requests", "sklearn"}
    top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    assert not {name.partition(".")[0] for name in names} & heavy


def all_tasks(bag: DagBag) -> list[Any]:
    return [task for dag in bag.dags.values() for task in dag.tasks]
