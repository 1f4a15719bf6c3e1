"""The short path of scheduling on a real PostgreSQL: what is in its way stays for a loop of Airflow's scheduler."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_programs import SCHEDULER, run

PLAIN: dict[str, Any] = {"left": False, "state": "queued", "held": ["second"], "errors": []}
LEFT: dict[str, Any] = {"left": True, "state": None, "held": [], "errors": []}


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(
        "short_path_trial",
        tmp_path_factory.mktemp("trial"),
        settings={**SCHEDULER, "AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": "100"},
    )


def test_a_task_whose_upstream_task_succeeded_is_queued(trials: dict[str, Any]) -> None:
    assert trials["plain"] == PLAIN


@pytest.mark.parametrize("name", ["lock_run", "lock_section"])
def test_what_another_scheduler_locked_is_left_alone(trials: dict[str, Any], name: str) -> None:
    assert trials[name] == LEFT


@pytest.mark.parametrize("name", ["pause", "run_late", "run_again", "fill_pool", "publish_another"])
def test_a_run_that_is_not_plain_is_left_to_airflow(trials: dict[str, Any], name: str) -> None:
    assert trials[name] == LEFT


def test_a_run_that_an_earlier_step_left_keeps_its_room_until_the_next_loop(trials: dict[str, Any]) -> None:
    assert trials["leave_another"] == LEFT, "a loop would compare the priorities of both"


def test_what_the_executor_does_not_get_is_not_queued(trials: dict[str, Any]) -> None:
    assert trials["break_executor"] == {**LEFT, "errors": ["RuntimeError: no key to sign tokens with"]}


def test_after_a_commit_that_failed_the_executor_keeps_the_task_as_airflow_does(trials: dict[str, Any]) -> None:
    assert trials["break_commit"] == {**LEFT, "held": ["second"], "errors": ["ConnectionError: the server has gone"]}


def test_a_task_that_the_broker_does_not_take_is_for_the_next_heartbeat_of_the_executor(trials: dict[str, Any]) -> None:
    assert trials["break_broker"] == {**PLAIN, "left": True}
