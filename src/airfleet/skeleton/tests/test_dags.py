"""The Dags load, and are wired as they are meant to be. Run with `airfleet test`."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

DAGS = Path(__file__).parent.parent / "dags"


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(str(DAGS))


def test_every_dag_loads(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert "daily_sales" in bag.dags


def test_nothing_is_reported_before_it_was_checked(bag: DagBag) -> None:
    tasks = bag.dags["daily_sales"].task_dict
    assert {name: task.downstream_task_ids for name, task in tasks.items()} == {
        "total": {"check"},
        "check": {"report"},
        "report": set(),
    }
