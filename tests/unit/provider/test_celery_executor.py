"""What our Celery executor leaves out of a loop, the next one does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow.providers.celery.executors import celery_executor

from airfleet_provider.executors.celery_executor import CeleryExecutor


def test_results_are_read_once_in_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    monkeypatch.setattr(celery_executor.CeleryExecutor, "sync", lambda _: reads.append("read"))
    executor = object.__new__(CeleryExecutor)
    executor.read_results()  # at the beginning of a loop
    executor.sync()  # further down
    assert len(reads) == 1
    executor.sync()  # of a loop that did not read at its beginning
    assert len(reads) == 2


def test_the_scheduler_is_not_told_what_it_wrote_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def send(self: CeleryExecutor, workloads: list[SimpleNamespace]) -> None:
        self.event_buffer = {"same": ("queued", "id"), "other": ("queued", "new"), "failed": ("failed", None)}

    monkeypatch.setattr(celery_executor.CeleryExecutor, "_process_workloads", send)
    executor = object.__new__(CeleryExecutor)
    tasks = [SimpleNamespace(key=key, external_executor_id="id") for key in ("same", "other", "failed")]
    executor._process_workloads([*(SimpleNamespace(ti=task) for task in tasks), SimpleNamespace(callback="one")])
    assert set(executor.event_buffer) == {"other", "failed"}


def test_workers_have_work_in_store_when_more_than_half_of_what_may_be_sent_is_out() -> None:
    executor = object.__new__(CeleryExecutor)
    executor.parallelism = 32
    executor.queued_tasks, executor.queued_callbacks, executor.queued_connection_tests = {}, {}, {}
    for running, expected in ((15, False), (16, True), (32, True)):
        executor.running = set(range(running))
        assert executor.has_store() is expected
