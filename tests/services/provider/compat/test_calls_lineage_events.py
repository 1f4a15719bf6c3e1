"""The event that is prepared of an ordinary task is the provider's own; of any other task, the provider makes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from airfleet_provider.compat.patches import lineage_event
from airfleet_provider.contract import environment
from airfleet_provider.contract.task_records import TRANSPORT
from deadline import COMMAND_S

# A process that tasks are forked from, and one fork for each case. With "plain", Airflow's own code does everything.
PROGRAM = Path(__file__).parent / "lineage_forks.py"
OWN = {
    **{"disabled": "False", "transport": json.dumps({"type": TRANSPORT}), "execute_in_thread": "True"},
    "disabled_for_operators": "__main__.SilentOperator",
}
# What each attempt is, and whether its event can be prepared.
CASES = {
    "plain": True,
    "python": True,
    "bash": True,
    "documented": True,
    "owned": True,
    "again": True,
    "without_interval": True,
    "without_date": True,
    "cleared": True,
    "other_conf": True,
    "own_policy": True,
    "late_secret": True,
    "half_interval": False,
    "child_of_other": False,
    "with_inlet": False,
    "with_outlet": False,
    "late_outlet": False,
    "outlet_event": False,
    "hook_lineage": False,
    "own_extractor": False,
    "late_policy": False,
    "late_doc": False,
    "late_dag_doc": False,
    "late_tag": False,
    "mapped": False,
    "failed": False,
    "skipped": False,
}


def fork(tmp_path: Path, mode: str, **settings: str) -> tuple[dict[str, Any], dict[str, bool]]:
    """Return the events of each case, and whether the provider made them."""
    folder = tmp_path / mode
    folder.mkdir()
    own = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    options = {f"AIRFLOW__OPENLINEAGE__{name.upper()}": value for name, value in {**OWN, **settings}.items()}
    command = [sys.executable, str(PROGRAM), environment.RECORDS, str(folder), mode]
    env = {**os.environ, **own, **options}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=COMMAND_S)
    assert done.returncode == 0, done.stderr
    events: dict[str, Any] = {}
    for file in folder.glob("*.records"):
        records = [json.loads(line)["body"] for line in file.read_text().splitlines()]
        events[file.name.partition(".")[0]] = [{**one, "eventTime": ""} for one in records]
    return events, json.loads(done.stdout.splitlines()[-1])


def test_the_event_of_each_attempt_is_the_one_that_the_provider_makes(tmp_path: Path) -> None:
    told, by_provider = fork(tmp_path, "warm")
    expected, all_by_provider = fork(tmp_path, "plain")
    assert set(expected) == set(CASES), "all but the operator that the settings leave out"
    for case in CASES:
        assert told.pop(case) == expected[case], case
    assert told == {}
    assert {case for case, made in all_by_provider.items() if not made} == {"silent"}
    assert {case: not made for case, made in by_provider.items()} == {**CASES, "silent": True}
    assert expected["documented"][0]["job"]["facets"]["documentation"]["description"] == "What it is for"
    assert "tags" in expected["plain"][0]["job"]["facets"]


def test_nothing_is_prepared_where_the_provider_runs_code_of_users(tmp_path: Path) -> None:
    _, by_provider = fork(tmp_path, "warm", custom_run_facets="builtins.dict")
    assert {case for case, made in by_provider.items() if not made} == {"silent"}


def test_the_code_that_makes_the_event_is_the_one_that_was_compared() -> None:
    assert lineage_event.PATCH.find_doubt() is None
