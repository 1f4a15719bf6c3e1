"""What `airfleet init` makes passes its own checks and tests, and runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airfleet.runners.local import ports
from fleets import Platform, make

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def fleet() -> Iterator[Platform]:
    with make("elsewhere") as other:
        platform = Platform(other.project.with_name("shop"), ports.find_free())
        made = [sys.executable, "-m", "airfleet", "init", str(platform.project)]
        subprocess.run(made, check=True, capture_output=True)
        platform.up("--port", str(platform.port))
        try:
            yield platform
        finally:
            platform.down("--now")


def test_a_new_project_passes_every_check_and_its_tests(fleet: Platform) -> None:
    checked = fleet.airfleet("release", "check", "--format", "json")
    assert json.loads(checked.stdout) == {"summary": {"errors": 0, "warnings": 0}, "findings": []}
    assert "passed" in fleet.airfleet("test").stdout


def test_its_dag_runs_and_reports(fleet: Platform) -> None:
    fleet.airfleet("airflow", "dags", "unpause", "daily_sales")
    run = fleet.trigger("daily_sales")
    assert fleet.wait_run("daily_sales", run) == "success"
    path = f"/dags/daily_sales/dagRuns/{run}/taskInstances/report/xcomEntries/return_value"
    said = fleet.call("GET", path)["value"]
    assert (json.loads(said) if isinstance(said, str) else said)[0] == "coffee: 54.40"


def test_git_sees_nothing_that_a_platform_leaves(fleet: Platform) -> None:
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *words], cwd=fleet.project, check=True)
    listed = subprocess.run(["git", "ls-files"], cwd=fleet.project, check=True, capture_output=True, text=True)
    left = [name for name in listed.stdout.split() if Path(name).parts[0] == ".airfleet" or name.endswith(".pyc")]
    assert not left
