"""`airflow dags list` without the tasks of Dags prints what Airflow prints, byte by byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import listed_dags
from deadline import COMMAND_S

# The states of the database in which the command goes Airflow's own way.
UNUSUAL = ("compressed", "other-id", "other-version")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("home")
    own = {"AIRFLOW_HOME": str(home), "COLUMNS": "200"}
    command = [sys.executable, str(Path(listed_dags.__file__))]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=COMMAND_S, env={**os.environ, **own}
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def answers(told: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """By the state of the database and the arguments: what the command answers in Airflow, and with the patch."""
    found: dict[str, list[dict[str, Any]]] = told["answers"]
    return found


def test_other_code_in_a_fork_of_the_image_reads_dags_with_their_tasks(told: dict[str, Any]) -> None:
    assert told["elsewhere"] == ["a", "b"]


def test_every_option_prints_what_airflow_prints(answers: dict[str, list[dict[str, Any]]]) -> None:
    fields = ("out", "err", "code")
    others = {
        name: (stock, patched)
        for name, (stock, patched) in answers.items()
        if [stock[field] for field in fields] != [patched[field] for field in fields]
    }
    assert others == {}
    table = answers["usual "][0]
    assert table["code"] == 0
    assert "zebra" in table["out"]
    assert "Äpfel" in table["out"]
    assert "Failed to load all files" in table["err"]
    assert "Failed to load all files" not in answers["no-import-errors "][0]["err"]
    assert [one["dag_id"] for one in json.loads(answers["usual --output json"][1]["out"])] == [
        "apple",
        "zebra",
        "Äpfel",
    ]
    assert answers["usual --bundle-name unknown"][1]["code"] == "Bundles not found: unknown"


def test_no_dag_is_read_with_its_tasks(answers: dict[str, list[dict[str, Any]]]) -> None:
    usual = [pair for name, pair in answers.items() if name.split()[0] not in (*UNUSUAL, "empty")]
    assert {patched["read"] for _, patched in usual} == {0}
    assert {stock["read"] for stock, _ in usual} == {3}, (
        "Airflow does the same by itself: the patch is not needed any more"
    )


def test_what_is_stored_in_another_way_is_read_as_airflow_reads_it(answers: dict[str, list[dict[str, Any]]]) -> None:
    for state in UNUSUAL:
        stock, patched = answers[f"{state} "]
        assert stock["read"] == patched["read"] > 0
    assert "zebra" not in answers["other-id "][1]["out"]
    assert "ValueError" in answers["other-version "][1]["code"]
