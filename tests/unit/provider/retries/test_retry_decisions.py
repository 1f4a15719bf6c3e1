"""What becomes of a task that failed: the first rule that fits, a random delay, and what the service asks for."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from airfleet_provider.contract import retry_rules
from airfleet_provider.contract.retry_rules import FailureAction, RetryRule
from airfleet_provider.retries.decisions import Decisions

NOW = datetime(2026, 11, 29, 6, tzinfo=UTC)
RULES = (
    RetryRule("typo", errors=(r"builtins\.(KeyError|NameError)",), action=FailureAction.FAIL),
    RetryRule("away", errors=("default",), delay_s=10, at_most_s=60),
    RetryRule("slow", dag="etl_.*", operator="SQL.*", tag="big", delay_s=600, growth=1),
)


class BusyError(Exception):
    """An answer with a status and a header."""

    def __init__(self, seconds: str) -> None:
        super().__init__(seconds)
        self.response = SimpleNamespace(status_code=429, headers={"Retry-After": seconds})


def make_ti(*, dag: str = "sales", operator: str = "Python", tags: tuple[str, ...] = (), tries: int = 1) -> object:
    task = SimpleNamespace(dag=SimpleNamespace(tags=set(tags)), task_type=operator)
    return SimpleNamespace(task=task, dag_id=dag, task_id="load", try_number=tries)


def longest(_: float, limit: float) -> float:
    return limit


DECISIONS = Decisions(RULES, longest, lambda: NOW)


def test_the_first_rule_that_fits_decides_and_airflow_the_rest() -> None:
    failed = DECISIONS.decide(make_ti(), KeyError("x"))
    assert failed is not None
    assert failed.delay_s is None
    assert "the rule typo" in failed.reason
    assert DECISIONS.decide(make_ti(), ValueError("x")) is None
    big = make_ti(dag="etl_a", operator="SQLExecuteQueryOperator", tags=("big",))
    slow = DECISIONS.decide(big, ValueError("x"))
    assert slow is not None
    assert slow.delay_s == 600
    assert DECISIONS.decide(make_ti(dag="etl_a", operator="SQLCheck"), ValueError("x")) is None


@pytest.mark.parametrize(("tries", "limit"), [(1, 10), (2, 20), (3, 40), (4, 60), (2000, 60)])
def test_the_limit_of_the_delay_doubles_up_to_a_limit(tries: int, limit: float) -> None:
    decision = DECISIONS.decide(make_ti(tries=tries), ConnectionRefusedError())
    assert decision is not None
    assert decision.delay_s == limit


def test_the_instances_of_a_mapped_task_do_not_retry_in_one_moment() -> None:
    decisions = Decisions(RULES, random.Random(7).uniform, lambda: NOW)
    found = [decisions.decide(make_ti(), TimeoutError()) for _ in range(300)]
    delays = sorted(one.delay_s for one in found if one is not None and one.delay_s is not None)
    assert len(set(delays)) == 300
    assert delays[0] < 1
    assert delays[-1] > 9
    assert 4 < delays[150] < 6


def test_the_service_is_not_asked_before_it_wants_to_be() -> None:
    decision = DECISIONS.decide(make_ti(), BusyError("120"))
    assert decision is not None
    assert decision.delay_s == 130
    assert "120 s of which the service asked for" in decision.reason


def test_a_rule_survives_the_way_to_the_task() -> None:
    assert retry_rules.parse(retry_rules.render(RULES)) == RULES
    assert retry_rules.parse("") == ()
