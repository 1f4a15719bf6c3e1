"""The section `retries` of fleet.yaml: what it means, and what its errors say."""

from __future__ import annotations

import pytest

from airfleet.errors import SpecError
from airfleet.spec import load
from airfleet_provider.contract import retry_rules
from airfleet_provider.contract.retry_rules import FailureAction, RetryRule


def parse(text: str) -> tuple[RetryRule, ...]:
    return load.parse(text, file="fleet.yaml", default_name="flights", cpus=8).retries


def test_rules_keep_their_order_and_survive_the_way_to_airflow() -> None:
    rules = parse(
        """
retries:
  typos: {errors: ['builtins\\.KeyError'], action: fail}
  away: {errors: [default], delay: 10s, at_most: 5m, growth: 3, operator: SQL.*}
  rest: {dag: sales_.*, tag: crm, task: load}
"""
    )
    assert [rule.name for rule in rules] == ["typos", "away", "rest"]
    assert rules[0].action is FailureAction.FAIL
    assert rules[0].errors == (r"builtins\.KeyError",)
    assert (rules[1].delay_s, rules[1].at_most_s, rules[1].growth, rules[1].operator) == (10, 300, 3, "SQL.*")
    assert rules[2].errors == ()
    assert retry_rules.parse(retry_rules.render(rules)) == rules


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{delay: 5m, at_most: 1m}", "`at_most` is shorter"),
        ("{action: retry-forever}", "action"),
        ("{errors: ['(']}", "not a regular expression"),
        ("{growth: 0.5}", "growth"),
    ],
)
def test_what_is_wrong_is_said(entry: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        parse(f"retries:\n  mine: {entry}\n")
    assert said in str(error.value)
