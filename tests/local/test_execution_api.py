"""The fast path of the execution API gives the answers and writes the rows that Airflow's own code does."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_programs import run

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run("execution_twins", tmp_path_factory.mktemp("airflow"))


def test_the_installed_airflow_is_the_one_that_is_repeated(twins: dict[str, Any]) -> None:
    assert twins["obstacle"] is None, twins["digest"]


def test_both_answer_alike(twins: dict[str, Any]) -> None:
    differ = {
        name: (case["stock"]["answers"], case["own"]["answers"])
        for name, case in twins["cases"].items()
        if case["stock"]["answers"] != case["own"]["answers"]
    }
    assert not differ


def test_both_leave_the_same_rows(twins: dict[str, Any]) -> None:
    differ = [
        f"{name}: {table}: {stock} is not {own}"
        for name, case in twins["cases"].items()
        for table, stock in case["stock"]["rows"].items()
        if stock != (own := case["own"]["rows"][table])
    ]
    assert not differ, "\n".join(differ)


def test_what_is_usual_is_short_and_nothing_else(twins: dict[str, Any]) -> None:
    assert {name for name, case in twins["cases"].items() if case["was_short"]} == {
        name for name, case in twins["cases"].items() if case["short"]
    }
