"""What a task used, as its supervisor measures and reports it."""

from __future__ import annotations

import os
import resource
from typing import Any

from airfleet_provider.contract.task_limits import TaskLimits
from airfleet_provider.contract.task_usage import TaskUsage
from airfleet_provider.processes.task_group import Counted
from airfleet_provider.task_runtime.usage import ChildrenWatch, UsageReporter, measure
from forked import start_fork


def spend(*, cpu_s: float = 1.0, memory_kib: int = 1024, blocks: int = 8) -> resource.struct_rusage:
    return resource.struct_rusage([cpu_s, 0.0, memory_kib, 0, 0, 0, 0, 0, 0, blocks, 2 * blocks, 0, 0, 0, 0, 0])


def test_the_cgroup_of_a_task_counts_what_its_parent_was_not_told() -> None:
    counted = Counted(kills=0, peak=700 << 20, cpu_s=9.0)
    used = measure(spend(), TaskLimits(memory=1 << 30), counted)
    assert (used.memory, used.cpu_s, used.is_group, used.memory_limit) == (700 << 20, 9.0, True, 1 << 30)


def test_without_a_cgroup_the_largest_process_counts() -> None:
    used = measure(spend(), TaskLimits())
    assert used == TaskUsage(cpu_s=1.0, memory=1 << 20, read=4096, written=8192)
    assert measure(spend(), TaskLimits(), Counted(0, 0)).memory == 1 << 20, "this kernel counts no peak"


def test_the_memory_of_a_child_is_unknown_if_one_before_it_had_more() -> None:
    readings = iter([spend(cpu_s=3.0, memory_kib=500), spend(cpu_s=4.5, memory_kib=500, blocks=9)])
    used = ChildrenWatch(lambda: next(readings)).measure()
    assert (used.cpu_s, used.memory, used.read) == (1.5, None, 512)


def test_the_memory_of_a_child_that_had_the_most_is_known() -> None:
    watch = ChildrenWatch()
    size = (watch.before.ru_maxrss << 10) + (64 << 20)
    os.waitpid(start_fork(lambda: bytearray(size)), 0)
    assert (watch.measure().memory or 0) >= size


class FakeClient:
    """Airflow's client, of whose API nobody answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any], float]] = []

    def build_request(self, method: str, url: str, *, json: dict[str, Any], timeout: float) -> None:
        self.asked.append((method, url, json, timeout))

    def send(self, request: None) -> None:
        raise ConnectionError("nobody answers")


def test_a_report_that_nobody_answers_is_given_up_and_the_task_is_as_it_was() -> None:
    client = FakeClient()
    now = 5.0
    reporter = UsageReporter(client, clock=lambda: now)
    now = 7.5
    reporter.report({"cpu_s": 1.0}, -9)
    [(method, url, content, timeout)] = client.asked
    assert (method, url, content) == ("PUT", "airfleet/usage", {"cpu_s": 1.0, "wall_s": 2.5, "exit_code": -9})
    assert timeout <= 5
