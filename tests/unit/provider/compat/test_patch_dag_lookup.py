"""Commands of Airflow that look for a Dag find what is stored, and write nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import looked_up_dags
from deadline import COMMAND_S


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("home")
    done = subprocess.run(
        [sys.executable, str(Path(looked_up_dags.__file__))],
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_S,
        env={**os.environ, "AIRFLOW_HOME": str(home)},
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_tasks_are_those_of_the_stored_dag(found: dict[str, Any]) -> None:
    assert found["listed"] == ["a", "b"]


def test_a_command_that_runs_a_task_has_the_dag_of_the_file_and_stores_none(found: dict[str, Any]) -> None:
    assert (found["run"], found["written"]) == (["a", "b", "c"], 0)


def test_a_dag_that_left_the_release_is_not_found_and_one_that_is_not_stored_is(found: dict[str, Any]) -> None:
    assert (found["gone"], found["new"]) == (["AirflowException"], ["x"])
