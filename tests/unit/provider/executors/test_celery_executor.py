"""What our Celery executor leaves out of a loop, the next one does."""

from __future__ import annotations

from collections.abc import Hashable
from types import SimpleNamespace

import pytest
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.providers.celery.executors import celery_executor

from airfleet_provider.compat.calls import task_instances
from airfleet_provider.contract.result_schema import REFUSED
from airfleet_provider.executors.celery_executor import MOST_REFUSALS, CeleryExecutor
from airfleet_provider.executors.lost_results import LostResults


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> CeleryExecutor:
    made = CeleryExecutor()
    monkeypatch.setattr(task_instances, "send_again", lambda ids: set())
    monkeypatch.setattr(task_instances, "list_awaited", set)
    return made


def key(name: str) -> TaskInstanceKey:
    return TaskInstanceKey("dag", name, "run", 1, -1)


def sent(executor: CeleryExecutor, *names: str) -> None:
    for name in names:
        executor.running.add(key(name))
        executor.workloads[key(name)] = SimpleNamespace(task_id=f"id-{name}")


def test_results_are_read_once_in_a_loop(executor: CeleryExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    monkeypatch.setattr(celery_executor.CeleryExecutor, "sync", lambda _: reads.append("read"))
    executor.read_results()  # at the beginning of a loop
    executor.sync()  # further down
    assert len(reads) == 1
    executor.sync()  # of a loop that did not read at its beginning
    assert len(reads) == 2


def test_a_slot_whose_result_was_lost_is_free_once_its_task_has_ended() -> None:
    unanswered = LostResults()
    messages: dict[Hashable, str] = {"ended": "a", "runs": "b"}
    assert unanswered.look(100, messages, {"b"}) == []
    assert unanswered.look(115, messages, {"b"}) == []
    assert unanswered.look(130, messages, {"b"}) == ["ended"]


def test_a_task_that_was_queued_anew_is_not_taken_for_the_one_that_ended() -> None:
    unanswered = LostResults()
    unanswered.look(100, {"one": "first"}, set())
    assert unanswered.look(160, {"one": "second"}, {"second"}) == []
    assert unanswered.look(190, {"one": "second"}, {"second"}) == []


def test_a_lost_result_frees_the_executor_s_slot(executor: CeleryExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    sent(executor, "ended", "runs")
    monkeypatch.setattr(task_instances, "list_awaited", lambda ids: {"id-runs"})
    executor.free_unanswered(100.0)
    executor.free_unanswered(131.0)
    assert executor.running == {key("runs")} == set(executor.workloads)


def test_what_a_worker_refused_is_sent_again_and_fails_only_when_it_is_refused_again_and_again(
    executor: CeleryExecutor,
) -> None:
    for _ in range(MOST_REFUSALS):
        sent(executor, "one")
        executor.update_task_state(key("one"), REFUSED, None)
        executor.send_refused()
        assert executor.running == set()
        assert executor.event_buffer == {}
    sent(executor, "one")
    executor.update_task_state(key("one"), REFUSED, None)
    executor.send_refused()
    assert executor.event_buffer[key("one")][0] == "failed"


def test_what_is_locked_is_tried_in_the_next_loop(executor: CeleryExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    sent(executor, "one")
    executor.update_task_state(key("one"), REFUSED, None)
    monkeypatch.setattr(task_instances, "send_again", set)
    executor.send_refused()
    assert executor.running == {key("one")}
    monkeypatch.setattr(task_instances, "send_again", lambda ids: set())
    executor.send_refused()
    assert executor.running == set()


def test_revoking_a_task_asks_no_worker(executor: CeleryExecutor) -> None:
    sent(executor, "one")
    executor.celery_app = SimpleNamespace()  # it has no way to a worker
    executor.revoke_task(ti=SimpleNamespace(key=key("one"), id="uuid"))
    assert executor.running == set() == set(executor.workloads)


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


def test_what_the_broker_has_not_taken_is_recorded_before_the_scheduler_s_heartbeat(
    executor: CeleryExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[tuple[set[str], set[str]]] = []
    monkeypatch.setattr(celery_executor.CeleryExecutor, "sync", lambda _: None)
    monkeypatch.setattr(task_instances, "note_unsent", lambda unsent, sent: noted.append((unsent, sent)))
    executor.queued_tasks = {
        key(name): SimpleNamespace(ti=SimpleNamespace(external_executor_id=name)) for name in ("one", "two")
    }
    executor.sync()
    executor.sync()
    del executor.queued_tasks[key("one")]  # the broker has taken it
    executor.sync()
    assert noted == [({"one", "two"}, set()), (set(), {"one"})]


def test_what_cannot_be_recorded_now_is_recorded_in_the_next_loop(
    executor: CeleryExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(unsent: set[str], sent: set[str]) -> None:
        raise OSError("the database does not answer")

    monkeypatch.setattr(celery_executor.CeleryExecutor, "sync", lambda _: None)
    executor.queued_tasks = {key("one"): SimpleNamespace(ti=SimpleNamespace(external_executor_id="one"))}
    monkeypatch.setattr(task_instances, "note_unsent", fail)
    with pytest.raises(OSError, match="does not answer"):
        executor.sync()
    noted: list[set[str]] = []
    monkeypatch.setattr(task_instances, "note_unsent", lambda unsent, sent: noted.append(unsent))
    executor.sync()
    assert noted == [{"one"}]
