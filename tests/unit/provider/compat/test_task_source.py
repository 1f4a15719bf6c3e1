"""The library that rewrites the source of tasks is imported at its first use, and rewrites as ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from airfleet_provider.compat.patches import task_source
from deadline import COMMAND_S
from forked import run_forked

DAG = """
from airflow.sdk import DAG, setup, task

with DAG("rewritten", schedule=None) as dag:

    @setup
    @task.run_if(lambda context: True)
    @task.virtualenv(requirements=["six"], multiple_outputs=False)
    def work(a: int = 1) -> int:
        # a comment
        return a

    made = work()
"""
PROGRAM = """
import json
import sys

from airfleet_provider.compat.patches import task_source

if sys.argv[1] == "deferred":
    task_source.defer()
    task_source.defer()
import airflow.sdk.execution_time.task_runner
import rewritten

before = "libcst" in sys.modules
source = rewritten.made.operator.get_python_source()
import libcst

print(json.dumps({"before": before, "source": source, "whole": hasattr(libcst, "Module")}))
"""


def run(how: str, home: Path) -> dict[str, Any]:
    """Return what a process finds that defers the import, or does not. Airflow is a whole one, with its settings."""
    (home / "rewritten.py").write_text(DAG)
    own = {"AIRFLOW_HOME": str(home), "PYTHONPATH": str(home)}
    command = [sys.executable, "-c", PROGRAM, how]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=COMMAND_S, env={**os.environ, **own}
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_it_is_imported_when_a_task_is_rewritten_with_the_same_result(tmp_path: Path) -> None:
    stock, deferred = run("stock", tmp_path), run("deferred", tmp_path)
    assert "def work" in stock["source"]
    assert "run_if" not in stock["source"]
    assert deferred == stock | {"before": False}
    assert stock["before"], f"Airflow imports {task_source.PACKAGE} later by itself: the patch is not needed any more"


@pytest.mark.parametrize(
    "text",
    [
        "import libcst as cst; cst.Name",
        "from libcst import Name",
        "import libcst.matchers",
        "import libcst; Kind = type('Kind', (libcst.CSTTransformer, object), {})",
    ],
)
def test_another_airflow_that_uses_more_of_it_gets_all_of_it(text: str) -> None:
    def execute() -> bool:
        for name in [one for one in sys.modules if one.partition(".")[0] == task_source.PACKAGE]:
            del sys.modules[name]
        task_source._execute(lambda module: exec(text, vars(module)), ModuleType("another"))  # noqa: S102 - text of this file
        return hasattr(sys.modules[task_source.PACKAGE], "Module")

    assert run_forked(execute)


def test_an_error_of_airflows_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        task_source._execute(lambda _: 1 / 0, ModuleType("another"))  # type: ignore[arg-type]
