"""The short path decides about plain tasks only, and leaves a run to Airflow that has anything else to decide."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from airfleet_provider.compat.calls.dag_traits import TaskTraits
from airfleet_provider.scheduler_wakeup.plain_runs import Decision, InstanceRow, PoolRoom, decide, have_room

# first -> second -> third, and other -> last, where `last` has a rule of its own.
TASKS = {
    "first": TaskTraits(frozenset(), is_plain=False, is_single=True, can_wait=False),
    "second": TaskTraits(frozenset({"first"}), is_plain=True, is_single=True, can_wait=True),
    "third": TaskTraits(frozenset({"second"}), is_plain=True, is_single=True, can_wait=True),
    "other": TaskTraits(frozenset(), is_plain=False, is_single=True, can_wait=False),
    "last": TaskTraits(frozenset({"other"}), is_plain=False, is_single=True, can_wait=True),
}
PLACE = {"map_index": -1, "pool": "default_pool", "pool_slots": 1, "executor": None, "version": "v1"}


def make(task: str, state: str | None, **others: object) -> InstanceRow:
    values = {**PLACE, "try_number": 0 if state is None else 1, **others}
    return InstanceRow(id=f"id of {task}", task=task, state=state, **values)  # type: ignore[arg-type]


def make_run(**states: str | None) -> list[InstanceRow]:
    """A run in which the tasks have these states, and all others none."""
    return [make(task, states.get(task)) for task in TASKS]


def take(instances: list[InstanceRow], *, most_active: int = 16) -> Decision:
    return decide(TASKS, instances, version="v1", most_active=most_active)


def list_ready(decision: Decision) -> list[str]:
    return [one.task for one in decision.ready]


def is_left(decision: Decision) -> bool:
    return not decision.ready and not decision.is_settled


def test_a_task_is_ready_when_the_task_before_it_succeeded() -> None:
    decision = take(make_run(first="success", other="running"))
    assert list_ready(decision) == ["second"]
    assert decision.is_settled, "third waits for second, and last for other"


def test_a_run_that_waits_for_its_tasks_is_settled() -> None:
    assert take(make_run(first="running", other="queued")) == Decision((), is_settled=True)


@pytest.mark.parametrize("state", ["failed", "skipped", "upstream_failed", "removed"])
def test_what_follows_a_task_without_success_is_for_airflow(state: str) -> None:
    decision = take(make_run(first=state, other="running"))
    assert list_ready(decision) == []
    assert not decision.is_settled


def test_a_rule_of_its_own_is_for_airflow_and_keeps_no_plain_task_waiting() -> None:
    decision = take(make_run(first="success", other="success"))
    assert list_ready(decision) == ["second"]
    assert not decision.is_settled
    assert [one.task for one in decision.rivals] == ["last"]
    assert is_left(take(make_run(first="success", other="success"), most_active=1)), "a priority decides"


def test_tasks_of_unknown_number_may_take_all_slots() -> None:
    tasks = {**TASKS, "last": replace(TASKS["last"], is_single=False, can_wait=False)}
    run = make_run(first="success", other="success")
    decision = decide(tasks, run, version="v1", most_active=16)
    assert is_left(decision)
    assert Counter(one.task for one in decision.rivals) == {"second": 1, "last": 16}, "others must leave them room"


def test_what_is_ready_in_a_run_that_is_left_is_a_rival_of_other_runs() -> None:
    for states, most_active in (({"other": "scheduled"}, 16), ({"other": "running"}, 1)):
        decision = take(make_run(first="success", **states), most_active=most_active)
        assert is_left(decision)
        assert [one.task for one in decision.rivals] == ["second"]


def test_a_run_without_anything_active_is_for_airflow() -> None:
    ended = dict.fromkeys(TASKS, "success")
    assert not take([make(task, state) for task, state in ended.items()]).is_settled


@pytest.mark.parametrize("state", ["up_for_retry", "up_for_reschedule"])
def test_what_becomes_due_by_the_clock_is_for_airflow(state: str) -> None:
    assert not take(make_run(first="success", second="running", other=state)).is_settled


@pytest.mark.parametrize(
    "change", [{"try_number": 1}, {"executor": "Other"}, {"version": "v2"}, {"version": None}, {"map_index": 0}]
)
def test_an_instance_that_is_not_plain_is_for_airflow(change: dict[str, object]) -> None:
    others = [one for one in make_run(first="success", other="running") if one.task != "second"]
    decision = take([*others, make("second", None, **change)])
    assert list_ready(decision) == []
    assert not decision.is_settled


def test_a_task_before_with_several_instances_is_for_airflow() -> None:
    run = [*make_run(first="success", other="running"), make("first", "failed", map_index=1)]
    decision = take(run)
    assert list_ready(decision) == []
    assert not decision.is_settled


def test_a_task_that_its_dag_no_longer_has_is_for_airflow() -> None:
    assert is_left(take([*make_run(first="success", other="running"), make("gone", "success")]))


def test_a_run_with_scheduled_tasks_is_for_airflow() -> None:
    assert is_left(take(make_run(first="success", other="scheduled")))


def test_the_limit_of_active_tasks_holds() -> None:
    run = make_run(first="success", other="running")
    assert is_left(take(run, most_active=1))
    assert list_ready(take(run, most_active=2)) == ["second"]
    assert list_ready(take(make_run(first="success", other="deferred"), most_active=1)) == ["second"]


def test_tasks_are_queued_only_if_all_of_them_fit() -> None:
    ready = [make("second", None, pool="small", pool_slots=2), make("last", None)]
    pools = {"small": PoolRoom(2, 2, 0), "default_pool": PoolRoom(float("inf"), float("inf"), 0)}
    assert have_room(ready, [], pools, slots=2)
    assert not have_room(ready, [], pools, slots=1)
    assert not have_room(ready, [], {**pools, "small": PoolRoom(2, 1, 0)}, slots=2)
    assert not have_room(ready, [], {"small": pools["small"]}, slots=2), "a pool that is gone"


def test_rivals_keep_their_room_in_the_same_pool_and_in_the_executor() -> None:
    ready = [make("second", None)]
    pools = {"default_pool": PoolRoom(2, 2, 0), "small": PoolRoom(1, 0, 0)}
    rival, elsewhere = make("last", None), make("last", None, pool="small")
    assert have_room(ready, [rival], pools, slots=2)
    assert not have_room(ready, [rival], pools, slots=1)
    assert not have_room(ready, [rival, rival], pools, slots=3)
    assert have_room(ready, [elsewhere, elsewhere], pools, slots=3), "they wait for their own pool"


def test_scheduled_tasks_come_first() -> None:
    ready = [make("second", None)]
    pools = {"default_pool": PoolRoom(16, 16, 0), "full": PoolRoom(1, 0, 3)}
    assert have_room(ready, [], pools, slots=4), "they wait for their own pool"
    assert not have_room(ready, [], pools, slots=3), "they may wait for the executor"
    assert not have_room(ready, [], {"default_pool": PoolRoom(16, 16, 1)}, slots=8), "a priority decides"
