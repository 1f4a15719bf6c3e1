"""The Dags load, are wired as the README says, and keep the rules of the house."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jinja2 import Template

from include.alerts import report_failure
from include.settings import MONTH, SQL

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

DAGS = Path(__file__).resolve().parent.parent / "dags"
WRITERS = {"prepare_warehouse", "load", "settle", "refresh_months", "refresh_year", "publish_year"}


@pytest.fixture(scope="session")
def bag(tmp_path_factory: pytest.TempPathFactory) -> DagBag:
    pytest.importorskip("airflow")
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(DAGS))


def test_all_three_load_without_an_error(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == {"flights_ingest", "flights_marts", "flights_report"}


def test_every_dag_says_what_it_is_and_whose(bag: DagBag) -> None:
    for dag in bag.dags.values():
        assert dag.doc_md and f"### {dag.dag_id}" in dag.doc_md
        assert "flights" in dag.tags
        assert dag.owner == "flight-data"


def test_every_task_retries_with_backoff_ends_and_reports(bag: DagBag) -> None:
    for task in all_tasks(bag):
        assert task.retries == 3
        assert task.retry_exponential_backoff == 2.0
        assert task.max_retry_delay == timedelta(minutes=2)
        assert task.execution_timeout == timedelta(minutes=5)
        assert task.on_failure_callback in (report_failure, [report_failure])


def test_whatever_writes_to_the_warehouse_takes_a_slot_of_its_pool(bag: DagBag) -> None:
    for task in all_tasks(bag):
        if task.task_id in WRITERS:
            assert task.pool == "warehouse", task.task_id


def test_one_run_a_month_of_2013(bag: DagBag) -> None:
    dag = bag.dags["flights_ingest"]
    assert dag.catchup
    assert dag.max_active_runs == 4
    assert (dag.timetable.expression, dag.timetable.timezone) == ("0 0 1 * *", "UTC")
    assert dag.start_date == datetime(2013, 1, 1, tzinfo=UTC)
    assert datetime(2013, 12, 1, tzinfo=UTC) <= dag.end_date < datetime(2014, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("asked", "month"), [(None, "2013-05"), ("2013-07", "2013-07")])
def test_the_month_is_that_of_the_interval_unless_asked_for(asked: str | None, month: str) -> None:
    context = {"params": {"month": asked}, "data_interval_start": datetime(2013, 5, 1, tzinfo=UTC)}
    assert Template(MONTH).render(context) == month


def test_waiting_gives_the_slot_back(bag: DagBag) -> None:
    sensor = bag.dags["flights_ingest"].get_task("wait_for_delivery")
    assert sensor.mode == "reschedule"
    assert 10 <= sensor.poke_interval <= 300
    assert sensor.timeout == timedelta(days=7).total_seconds()


def test_the_month_is_loaded_by_partition_and_settled_last(bag: DagBag) -> None:
    dag = bag.dags["flights_ingest"]
    assert dag.get_task("load").is_mapped
    assert dag.get_task("load").upstream_task_ids == {"validate", "prepare_warehouse"}
    assert [task.task_id for task in dag.leaves] == ["settle"]


def test_assets_hand_over_from_dag_to_dag(bag: DagBag) -> None:
    assert outlets(bag, "flights_ingest") == {"settle": "warehouse.flights"}
    assert outlets(bag, "flights_marts") == {"publish_year": "warehouse.flights_marts"}
    assert triggers(bag, "flights_marts") == ["warehouse.flights"]
    assert triggers(bag, "flights_report") == ["warehouse.flights_marts"]
    assert {bag.dags[name].max_active_runs for name in ("flights_marts", "flights_report")} == {1}


def test_marts_have_gates_before_and_after_and_a_branch(bag: DagBag) -> None:
    dag = bag.dags["flights_marts"]
    assert [task.task_id for task in dag.roots] == ["check_facts"]
    assert dag.get_task("choose_scope").downstream_task_ids == {"refresh_year", "wait"}
    assert dag.get_task("publish_year").upstream_task_ids == {"check_marts"}


def test_every_sql_file_a_task_names_is_there(bag: DagBag) -> None:
    used = {task.sql for task in all_tasks(bag) if getattr(task, "sql", None)}
    names = ("check_facts", "refresh_months", "refresh_year", "check_marts", "publish_year")
    assert used == {(SQL / f"{name}.sql").read_text() for name in names}


def all_tasks(bag: DagBag) -> list[Any]:
    return [task for dag in bag.dags.values() for task in dag.tasks]


def outlets(bag: DagBag, dag_id: str) -> dict[str, str]:
    return {task.task_id: asset.name for task in bag.dags[dag_id].tasks for asset in task.outlets or ()}


def triggers(bag: DagBag, dag_id: str) -> list[str]:
    return [asset.name for asset in bag.dags[dag_id].timetable.asset_condition.objects]
