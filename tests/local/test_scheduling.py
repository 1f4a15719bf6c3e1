"""A scheduler that examines only changed Dag runs takes tasks through the same states as one that examines all runs."""

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

TWINS = Path(__file__).parents[1] / "support" / "scheduling_twins.py"


def drive(home: Path, mode: str) -> dict[str, Any]:
    with serve() as server:
        env = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": server.dsn.replace("postgresql://", "postgresql+psycopg2://"),
            "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of a test, and of nothing else; 64 bytes are asked for it",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "500",
            "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "0",  # which of equals are queued first is left to chance
            "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        }
        done = subprocess.run(
            [sys.executable, str(TWINS), mode],
            env=os.environ | env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return {mode: drive(tmp_path_factory.mktemp(mode), mode) for mode in ("stock", "own")}


def test_the_installed_scheduler_is_the_one_that_is_known(twins: dict[str, dict[str, Any]]) -> None:
    assert twins["own"]["obstacles"] == [None, None], twins["own"]["digest"]


def test_every_run_comes_to_its_end(twins: dict[str, dict[str, Any]]) -> None:
    last = twins["stock"]["seen"][-1]
    runs = {name: state for name, state in last.items() if "." not in name}
    assert set(runs.values()) == {"success", "failed"}, runs


def test_states_are_the_same_after_every_loop(twins: dict[str, dict[str, Any]]) -> None:
    differ = [
        f"loop {number}: {name} is {own.get(name)} and not {state}"
        for number, (stock, own) in enumerate(zip(twins["stock"]["seen"], twins["own"]["seen"], strict=True))
        for name, state in stock.items()
        if own.get(name) != state
    ]
    assert not differ, "\n".join(differ[:20])


def test_it_takes_fewer_statements(twins: dict[str, dict[str, Any]]) -> None:
    assert twins["own"]["statements"] < twins["stock"]["statements"] / 2
