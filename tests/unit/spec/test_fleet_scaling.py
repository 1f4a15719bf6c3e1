"""The key `scale` of a pool in fleet.yaml: what it means, and what its errors say."""

from __future__ import annotations

import pytest

from airfleet.components import slots
from airfleet.errors import SpecError
from airfleet.spec import load
from airfleet.spec.fleet import Fleet
from airfleet_provider.contract.slot_rules import DAYS, Hours

HOSTS = """
hosts:
  a: {address: 10.0.0.1, roles: [database, scheduler, web, broker]}
  b: {address: 10.0.0.2, pools: [default, cpu]}
  c: {address: 10.0.0.3, pools: [cpu]}
"""


def parse(text: str) -> Fleet:
    return load.parse(text, file="fleet.yaml", default_name="flights", cpus=8)


def test_a_pool_scales_over_the_hosts_that_serve_it_and_others_do_not() -> None:
    text = """
pools:
  default: {}
  cpu:
    concurrency: 8
    scale:
      min: 4
      max: 12
      calm: 5m
      ahead: 90s
      timezone: Europe/Berlin
      hours:
        - {between: "22:00-06:00", days: [fri, sat], min: 1, max: 2}
        - {between: "12:00-13:00"}
"""
    [rule] = slots.list_rules(parse(text + HOSTS))
    assert (rule.pool, rule.queues, rule.hosts, rule.per_host) == ("cpu", ("cpu",), ("b", "c"), 8)
    assert (rule.least, rule.most, rule.calm_s, rule.zone) == (4, 12, 300.0, "Europe/Berlin")
    assert rule.hours == (Hours("22:00", "06:00", ("fri", "sat"), 1, 2), Hours("12:00", "13:00", DAYS))
    assert rule.pack
    assert rule.ahead_s == 90.0
    [spread] = slots.list_rules(parse("pools: {default: {}, cpu: {scale: {pack: false}}}" + HOSTS))
    assert not spread.pack
    assert spread.ahead_s == 0.0


def test_one_machine_scales_its_one_worker_within_its_parallelism() -> None:
    [rule] = slots.list_rules(parse("{executor: celery, parallelism: 6, pools: {default: {scale: {}}}}"))
    assert (rule.pool, rule.hosts, rule.per_host, rule.least, rule.most) == ("default", ("localhost",), 6, 1, None)
    assert not rule.pack
    assert slots.list_rules(parse("{pools: {default: {scale: {}}}}")) == (), "LocalExecutor has no workers"
    assert slots.list_rules(parse("{executor: celery}")) == ()


@pytest.mark.parametrize(
    ("scale", "what"),
    [
        ("{min: 5, max: 4}", "min is 5 and max is 4"),
        ("{hours: [{between: '22:00-22:00'}]}", "22:00-22:00 is no time"),
        ("{hours: [{between: '22-6'}]}", "two times of day such as 22:00-06:00"),
        ("{hours: [{between: '22:00-06:00', min: 3, max: 1}]}", "min is 3 and max is 1"),
        ("{calm: soon}", "expected a duration, found 'soon'"),
        ("{timezone: Mars}", "unknown time zone 'Mars'"),
    ],
)
def test_what_cannot_be_is_said(scale: str, what: str) -> None:
    with pytest.raises(SpecError) as error:
        parse(f"pools: {{default: {{scale: {scale}}}}}")
    assert what in str(error.value)
