"""What hosts get when a pool scales, and when fleet.yaml limits single tasks; and that others get nothing of it."""

from __future__ import annotations

import json

from airfleet.components.hosts import haproxy
from airfleet.components.model import reveal
from airfleet.runners.fleet.plan import systemd_units
from airfleet_provider.contract import environment, task_limits
from airfleet_provider.contract.slot_rules import SlotRule
from airfleet_provider.contract.task_limits import LimitRule, TaskLimits
from places import NINE, parse, parts, place, with_setting

SCALING = with_setting(NINE, "cpu: {concurrency: 4, cpus: 4}", "cpu: {concurrency: 4, scale: {min: 2}}")
LIMITED = NINE + "task_limits: {rest: {memory: 1G}}\n"


def read_unit(pool: str, host: str, text: str) -> str:
    services = [service for part in parts(host, text) for service in part.services]
    return next(systemd_units.render(one) for one in services if one.name == f"worker-{pool}")


def test_only_the_workers_of_a_pool_that_scales_report_and_only_that_pool_has_a_rule() -> None:
    assert f"{environment.SLOTS}=http://127.0.0.1:8882/airfleet/workers/cpu/cpu1" in read_unit("cpu", "cpu1", SCALING)
    assert environment.SLOTS not in read_unit("default", "cpu1", SCALING)
    assert environment.SLOTS not in read_unit("cpu", "cpu1", NINE)
    files = [file for part in parts("sched1", SCALING) for file in part.files if file.path.name == "hosts.json"]
    [rule] = json.loads(reveal(files[0].content))["slots"]["rules"]
    assert SlotRule.from_json(rule) == SlotRule("cpu", ("cpu",), ("cpu1",), per_host=4, least=2)


def test_reports_reach_a_web_host_from_a_worker_host() -> None:
    assert "path_beg /airfleet/releases/ /airfleet/workers/" in haproxy.render_proxy(place(parse(NINE), "cpu1"))


def test_a_unit_is_delegated_only_where_tasks_have_limits() -> None:
    limited, free = read_unit("memory", "memory1", LIMITED), read_unit("memory", "memory1", NINE)
    for line in ("Delegate=cpu io memory pids", "ProtectControlGroups=no"):
        assert line in limited.splitlines()
        assert line not in free.splitlines()
    assert environment.DELEGATED in limited
    assert environment.DELEGATED not in free


def test_workers_read_the_limits_of_tasks() -> None:
    [config] = [file for part in parts("memory1", LIMITED) for file in part.files if file.path.name == "airflow.cfg"]
    [line] = [one for one in reveal(config.content).splitlines() if one.startswith("task_limits = ")]
    text = line.removeprefix("task_limits = ").replace("%%", "%")
    assert task_limits.parse(text) == (LimitRule("rest", limits=TaskLimits(memory=1 << 30)),)
