"""Which limits hold for a task: rules of fleet.yaml, and what the task asks for itself."""

from __future__ import annotations

import pytest

from airfleet.errors import SpecError
from airfleet.spec import load
from airfleet_provider.contract import task_limits
from airfleet_provider.contract.task_limits import TaskLimits, find_limits, parse, render

TEXT = """
task_limits:
  heavy: {pool: memory, dag: sales_.*, task: load, memory: 4G, memory_high: 3G}
  sales: {dag: sales_.*, memory: 2G, pids: 200}
  rest: {memory: 512M, cpu_weight: 50, cpus_high: 1.5, disk_rate: 20M}
"""
G = 1 << 30


def read(text: str) -> tuple[task_limits.LimitRule, ...]:
    return load.parse(text, file="fleet.yaml", default_name="f", cpus=2).task_limits


def test_the_first_rule_that_fits_decides() -> None:
    rules = parse(render(read(TEXT)))
    assert find_limits(rules, "memory", "sales_eu", "load") == TaskLimits(4 * G, 3 * G)
    assert find_limits(rules, "cpu", "sales_eu", "load") == TaskLimits(2 * G, pids=200)
    assert find_limits(rules, "", "lake", "fill") == TaskLimits(512 << 20, None, 50, None, 1.5, 20 << 20)
    assert find_limits((), "cpu", "lake", "fill") == TaskLimits()


@pytest.mark.parametrize(
    ("hint", "limits"),
    [
        ({"memory": "1G", "pids": 50}, TaskLimits(1 * G, pids=50)),
        ({"memory": "64G", "pids": 10_000, "cpu_weight": 10}, TaskLimits(2 * G, cpu_weight=10, pids=200)),
        ({"memory": "1M"}, TaskLimits(task_limits.LEAST_MEMORY, pids=200)),
        ({"pool": "memory", "memory": -1, "pids": True, "cpu_weight": "all"}, TaskLimits(2 * G, pids=200)),
        ({"cpus_high": 2, "disk_rate": "1G"}, TaskLimits(2 * G, pids=200, cpus_high=2, disk_rate=1 * G)),
        ({"cpus_high": True, "disk_rate": 5}, TaskLimits(2 * G, pids=200)),
        ({"cpus_high": float("nan")}, TaskLimits(2 * G, pids=200)),
        ("memory", TaskLimits(2 * G, pids=200)),
        (None, TaskLimits(2 * G, pids=200)),
    ],
)
def test_a_task_can_ask_for_less_and_never_for_more(hint: object, limits: TaskLimits) -> None:
    assert find_limits(read(TEXT), "cpu", "sales_eu", "load", hint) == limits


def test_a_hint_of_cpus_and_disks_tightens_and_never_widens() -> None:
    def find(hint: object) -> TaskLimits:
        return find_limits(read(TEXT), "cpu", "lake", "fill", hint)

    assert find({"cpus_high": 1, "disk_rate": "5M"}) == TaskLimits(512 << 20, None, 50, None, 1, 5 << 20)
    assert find({"cpus_high": 8, "disk_rate": "5G"}) == find(None)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ("{dag: sales}", "this entry limits nothing"),
        ("{memory: 1G, memory_high: 2G}", "`memory_high` is above `memory`"),
        ("{memory: 16M}", "no task can begin with 16M"),
        ("{pids: 2}", "8"),
        ("{cpus_high: 0}", "0.1"),
    ],
)
def test_what_cannot_be_is_said(entry: str, what: str) -> None:
    with pytest.raises(SpecError) as error:
        read(f"task_limits: {{x: {entry}}}")
    assert what in str(error.value)
