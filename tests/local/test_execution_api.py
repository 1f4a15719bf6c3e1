"""The fast path of the execution API gives the answers and writes the rows that Airflow's own code does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from servers import serve

pytestmark = pytest.mark.local

TWINS = Path(__file__).parents[1] / "support" / "execution_twins.py"


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("airflow")
    with serve() as server:
        dsn = server.dsn.replace("postgresql://", "postgresql+psycopg2://")
        env = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": dsn,
            "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of a test, and of nothing else; 64 bytes are asked for it",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        }
        done = subprocess.run(
            [sys.executable, str(TWINS)], env=os.environ | env, capture_output=True, text=True, timeout=300, check=False
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


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
