"""Rules decide about retries where the author of a task has not."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction, RetryDecision
from airflow.sdk.execution_time import task_runner

from airfleet_provider.compat.patches import retry_rules
from airfleet_provider.compat.patches.retry_rules import RuleDecision


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, event: str, **_: object) -> None:
        self.lines.append(event)

    def exception(self, event: str, **_: object) -> None:
        self.lines.append(event)


def evaluate(decide: retry_rules.Decide, policy: object = None) -> tuple[Any, Log]:
    (patched,) = retry_rules._make(task_runner._evaluate_retry_policy, decide)
    context = SimpleNamespace(max_tries=3)
    ti = SimpleNamespace(task=SimpleNamespace(retry_policy=policy), try_number=1, _ti_context_from_server=context)
    log = Log()
    return patched(ti, ValueError("x"), log, None), log


@pytest.mark.parametrize(
    ("decision", "action", "delay"),
    [
        (RuleDecision(2.5, "busy"), RetryAction.RETRY, timedelta(seconds=2.5)),
        (RuleDecision(None, "no use"), RetryAction.FAIL, None),
    ],
)
def test_a_rule_decides_and_its_reason_is_kept(decision: RuleDecision, action: RetryAction, delay: timedelta) -> None:
    found, log = evaluate(lambda *_: decision)
    assert (found.action, found.retry_delay, found.reason) == (action, delay, decision.reason)
    assert log.lines


def test_without_a_rule_airflow_decides() -> None:
    assert evaluate(lambda *_: None)[0] is None


def test_a_policy_of_the_author_wins() -> None:
    own = SimpleNamespace(evaluate=lambda **_: RetryDecision.fail("the author's"))
    found, _ = evaluate(lambda *_: RuleDecision(1.0, "the rule's"), own)
    assert found.reason == "the author's"


@pytest.mark.parametrize("delay_s", [float("nan"), float("inf"), 1e300])
def test_a_delay_that_is_no_time_leaves_the_task_to_airflow(delay_s: float) -> None:
    found, log = evaluate(lambda *_: RuleDecision(delay_s, "busy"))
    assert found is None
    assert "Airflow decides" in log.lines[0]


def test_rules_that_fail_leave_the_task_to_airflow() -> None:
    def decide(*_: object) -> RuleDecision:
        raise RuntimeError("broken")

    found, log = evaluate(decide)
    assert found is None
    assert "Airflow decides" in log.lines[0]
