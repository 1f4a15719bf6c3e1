"""`airfleet explain` agrees with Airflow's scheduler, in states that the scheduler made on a real database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_programs import SCHEDULER, run

pytestmark = pytest.mark.local


def drive(home: Path, mode: str) -> dict[str, Any]:
    return run("explained_scheduler", home, mode, settings=SCHEDULER)


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return drive(tmp_path_factory.mktemp("rules"), "rules")


@pytest.fixture(scope="module")
def limits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return drive(tmp_path_factory.mktemp("limits"), "limits")


@pytest.fixture(scope="module")
def causes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return drive(tmp_path_factory.mktemp("causes"), "causes")


def test_every_loop_does_what_the_trigger_rules_let_expect(rules: dict[str, Any]) -> None:
    assert not rules["wrong"], "\n".join(rules["wrong"][:20])
    assert rules["checked"] > 500
    assert set(rules["outcomes"]) == {"ready", "waits", "skips", "fails"}


def test_every_loop_does_what_the_limits_let_expect(limits: dict[str, Any]) -> None:
    assert not limits["wrong"], "\n".join(limits["wrong"][:20])
    assert limits["checked"] > 200
    assert {"pool-full", "pool-missing", "max-active-tasks", "task-concurrency", "paused"} <= set(limits["codes"])


# The name of the case, the most severe cause, and the beginning of the first command.
CASES = [
    ("no run yet", "no-schedule", "airfleet run plain"),
    ("two assets", "assets-missing", "airfleet airflow assets list"),
    ("one asset", "assets-missing", "airfleet airflow assets list"),
    ("next daily run", "next-loop", None),
    ("a run that waits for a slot pool", "pool-full", "airfleet explain pool_full run t"),
    ("a full slot pool", "pool-full", "airfleet explain pool_full run t"),
    ("a short cut to a task", "pool-full", "airfleet explain pool_full run t"),
    ("a small slot pool", "pool-too-small", "airfleet airflow pools set slow 5"),
    ("no slot pool", "pool-missing", "airfleet airflow pools set nowhere"),
    ("max_active_tasks", "max-active-tasks", "airfleet explain tasks_limit run t"),
    ("max_active_tis_per_dag", "task-concurrency", "airfleet explain task_limit"),
    ("max_active_tis_per_dagrun", "task-run-concurrency", "airfleet explain mapped run many"),
    ("all instances", "task-run-concurrency", "airfleet explain mapped run many"),
    ("paused", "paused", "airfleet airflow dags unpause paused"),
    ("a run of a paused Dag", "paused", "airfleet airflow dags unpause paused"),
    ("max_active_runs", "max-active-runs", "airfleet explain runs_limit run"),
    ("a run to come", "not-due", "airfleet explain later"),
    ("a logical date ahead", "logical-date-ahead", "airfleet explain ahead"),
    ("not live", "not-live", "airfleet airflow dags list"),
    ("import error", "import-error", "airfleet status"),
    ("trigger rule", "trigger-rule", "airfleet explain chain run first"),
    ("a whole run that waits", "trigger-rule", "airfleet explain chain run first"),
    ("queued", "in-queue", "airfleet top"),
    ("depends on the past", "depends-on-past", "airfleet explain past run t0"),
    ("failed", "task-failed", "airfleet airflow dags clear past --run-id run --only-failed"),
    ("will never run", "trigger-rule", None),
    ("upstream failed", "upstream-failed", "airfleet explain chain run first"),
    ("retry of retries", "retry-delay", "airfleet airflow tasks clear retries"),
    ("deferred without triggerer", "triggerer-silent", "airfleet status"),
    ("deferred", "deferred", "airfleet logs -n 100 triggerer"),
    ("running", "runs", None),
    ("silent", "heartbeat-late", "airfleet status"),
    ("its scheduler is gone", "executor-lost", "airfleet status"),
    ("behind others", "behind-others", "airfleet top"),
    ("next loop", "next-loop", None),
    ("silent scheduler", "scheduler-silent", "airfleet status"),
]


@pytest.mark.parametrize(("case", "code", "command"), CASES, ids=[case for case, _, _ in CASES])
def test_each_cause_is_found_with_a_command_that_helps(
    causes: dict[str, Any], case: str, code: str, command: str | None
) -> None:
    first = causes[case]["causes"][0]
    assert first["code"] == code, causes[case]
    assert first["commands"][0].startswith(command) if command else not first["commands"]


def test_all_causes_of_one_task_are_named(causes: dict[str, Any]) -> None:
    assert [one["code"] for one in causes["a busy platform"]["causes"]] == ["pool-full", "parallelism"]


def test_a_full_slot_pool_names_its_holders_and_its_numbers(causes: dict[str, Any]) -> None:
    full = causes["a full slot pool"]["causes"][0]
    assert (full["figures"]["slots"], full["figures"]["used"]) == (2, 2)
    assert {one["subject"]["task"] for one in full["blockers"]} <= {"t0", "t1", "t2", "t3"}
    assert {one["state"] for one in full["blockers"]} == {"queued"}


def test_a_blocked_run_names_the_run_that_blocks_it(causes: dict[str, Any]) -> None:
    (blocker,) = causes["max_active_runs"]["causes"][0]["blockers"]
    assert (blocker["subject"]["run"], blocker["state"]) == ("run", "running")


def test_an_import_error_is_shown_with_its_line(causes: dict[str, Any]) -> None:
    assert "dags/broken.py:3" in causes["import error"]["causes"][0]["what"]


@pytest.mark.parametrize("dag", ["retries", "backoff"])
def test_the_next_try_is_when_airflow_says(causes: dict[str, Any], dag: str) -> None:
    airflows, own = causes[f"moments of {dag}"]
    assert own == airflows


def test_the_overview_counts_what_the_scheduler_queued(causes: dict[str, Any]) -> None:
    seen = causes["overview"]
    slow = next(one for one in seen["slot_pools"] if one["name"] == "slow")
    assert (slow["slots"], slow["used"], slow["holders"]) == (2, 2, [{"dag": "pool_full", "slots": 2}])
    (queue,) = seen["queues"]
    assert queue["queued"] == seen["states"]["queued"] > 0
    assert seen["components"][0]["type"] == "SchedulerJob"


def test_an_sla_that_is_late_is_told_where_it_belongs(causes: dict[str, Any]) -> None:
    assert [one["code"] for one in causes["a late run"]["causes"]] == ["max-active-runs", "promise"]
    assert "promise" not in [one["code"] for one in causes["not the late run"]["causes"]]


def test_no_statement_scans_the_history(causes: dict[str, Any]) -> None:
    assert not causes["scans"], "\n\n".join(causes["scans"])
    assert causes["statements"] > 25
