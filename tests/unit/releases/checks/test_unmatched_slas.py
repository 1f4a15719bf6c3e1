"""Rules of SLAs that match nothing, and those that match by tag, owner, task or asset."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airfleet_provider.contract.sla_rules import PromiseKind, SlaRule
from small_releases import catch, make_dag, make_facts

OUTLET = {"__type": "asset", "name": "sales", "uri": "s3://warehouse/sales", "group": "asset", "extra": {}}
DAG = make_dag("sales", {"owner": "bi", "outlets": [OUTLET]}, tags=["daily"])


def find(*rules: SlaRule) -> list[str]:
    facts = replace(make_facts("", DAG), slas=tuple((rule, 3) for rule in rules))
    return [f"{one.path}:{one.line}: {one.what}; {one.hint}" for one in catch(facts, "unmatched-sla")]


@pytest.mark.parametrize(
    "rule",
    [
        SlaRule("a", PromiseKind.MUST_RUN, tag="dai.*"),
        SlaRule("a", PromiseKind.MUST_RUN, owner="bi"),
        SlaRule("a", PromiseKind.NO_LONGER_THAN, task="load"),
        SlaRule("a", PromiseKind.FRESH_BY, asset="s3://.*"),
    ],
)
def test_a_rule_that_matches_is_fine(rule: SlaRule) -> None:
    assert find(rule) == []


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            SlaRule("a", PromiseKind.MUST_RUN, tag="weekly"),
            "matches no Dag; the expressions must match whole names; each Dag here: sales",
        ),
        (
            SlaRule("a", PromiseKind.NO_LONGER_THAN, dag="sales", task="laod"),
            "matches no task of sales; did you mean 'load'?",
        ),
        (SlaRule("a", PromiseKind.FRESH_BY, asset="sale"), "matches no asset; did you mean 'sales'?"),
    ],
)
def test_a_rule_that_matches_nothing_has_a_line_and_a_hint(rule: SlaRule, said: str) -> None:
    (found,) = find(rule, rule)
    assert found.startswith("fleet.yaml:3: the SLA a ")
    assert said in found


def test_a_file_that_does_not_load_may_have_the_dag() -> None:
    facts = replace(make_facts("", error="Traceback"), slas=((SlaRule("a", PromiseKind.MUST_RUN, dag="x"), 3),))
    assert catch(facts, "unmatched-sla") == []
