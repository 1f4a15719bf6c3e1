"""The section `breakers` of fleet.yaml: what it means, and what its errors say."""

from __future__ import annotations

import pytest

from airfleet.errors import SpecError
from airfleet.spec import load
from airfleet_provider.contract import breaker_rules
from airfleet_provider.contract.breaker_rules import BreakerRule

HOSTS = """
hosts:
  a: {address: 10.0.0.1, roles: [database, scheduler, web, broker, balancer]}
  b: {address: 10.0.0.2, roles: [worker]}
  c: {address: 10.0.0.3, roles: [worker]}
  d: {address: 10.0.0.4, roles: [worker]}
"""


def parse(text: str) -> tuple[BreakerRule, ...]:
    return load.parse(text, file="fleet.yaml", default_name="flights", cpus=8).breakers


def test_an_entry_is_a_rule_and_survives_the_way_to_airflow() -> None:
    rules = parse(
        """
breakers:
  warehouse: {connection: dwh_.*, failures: 3, within: 2m, probe_after: 5s, probe_at_most: 5m, free_waits: 0}
  crm: {dag: sales_.*, tag: crm, task: load, errors: [default, 'crm\\..*']}
"""
    )
    warehouse, crm = rules
    assert (warehouse.connection, warehouse.failures, warehouse.window_s) == ("dwh_.*", 3, 120)
    assert (warehouse.probe_after_s, warehouse.probe_at_most_s, warehouse.free_waits) == (5, 300, 0)
    assert crm.errors == ("default", r"crm\..*")
    assert breaker_rules.parse(breaker_rules.render(rules)) == rules


def test_one_machine_needs_no_second_worker_and_a_fleet_does() -> None:
    assert parse("breakers: {a: {}}")[0].workers == 1
    assert parse(f"breakers: {{a: {{}}, b: {{workers: 9}}}}{HOSTS}")[0].workers == 2
    assert parse(f"breakers: {{a: {{}}, b: {{workers: 9}}}}{HOSTS}")[1].workers == 3


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("dag: '('", "not a regular expression"),
        ("within: soon", "expected a duration"),
        ("{probe_after: 2m, probe_at_most: 1m}", "`probe_at_most` is shorter"),
        ("errors: []", "errors"),
        ("failures: 0", "failures"),
    ],
)
def test_what_is_wrong_is_said(entry: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        parse(f"breakers:\n  crm:\n    {entry}\n" if not entry.startswith("{") else f"breakers:\n  crm: {entry}\n")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("rule", "covers"),
    [
        (BreakerRule("a", dag="sales_.*"), True),
        (BreakerRule("a", dag="sales"), False),
        (BreakerRule("a", tag="crm"), True),
        (BreakerRule("a", tag="cr"), False),
        (BreakerRule("a", dag="sales_.*", task="load"), True),
        (BreakerRule("a", dag="sales_.*", task="send"), False),
        (BreakerRule("a", connection="crm", dag="sales_.*"), False),
        (BreakerRule("a"), False),
    ],
)
def test_names_and_tags_say_which_tasks_a_rule_is_about(rule: BreakerRule, covers: bool) -> None:
    assert rule.covers("sales_eu", "load", ["daily", "crm"]) is covers
