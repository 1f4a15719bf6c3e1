"""A report on an earlier start of a task is never taken for one on the start to come."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from airfleet_provider.executors.executor_events import KnowsScheduled


@dataclass
class Executor:
    has: bool

    def has_task(self, task_instance: object) -> bool:
        return self.has


class Own(KnowsScheduled, Executor):
    pass


@dataclass
class TaskInstance:
    state: str


@pytest.mark.parametrize(
    ("state", "has", "known"),
    [("scheduled", False, True), ("queued", False, False), ("queued", True, True), ("running", False, False)],
)
def test_a_scheduled_task_is_one_that_the_executor_will_have(state: str, has: bool, known: bool) -> None:
    assert Own(has).has_task(TaskInstance(state)) is known
