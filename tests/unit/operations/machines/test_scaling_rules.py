"""Machines that come and go with the tasks: what is decided."""

from __future__ import annotations

from collections.abc import Sequence

from airfleet.operations.machines.scaling_rules import PoolNeed, ScaledHost, ScalePhase, WorkerLoad, decide
from airfleet.spec.machines import GIB, MachineGroup

GROUP = MachineGroup("worker", 3, 2, GIB, GIB, "debian", pools=("default",), least=0, calm_s=900.0)
MAKING, JOINING, SERVING, LEAVING, ENDING = ScalePhase


def need(needed: int, most: int | None = None, own: int = 1) -> PoolNeed:
    return PoolNeed("default", needed, needed if most is None else most, own)


def hosts(**phases: ScalePhase) -> list[ScaledHost]:
    return [ScaledHost(name, "worker", phase, "", 0.0) for name, phase in phases.items()]


def changes(needs: PoolNeed, present: Sequence[ScaledHost], **held: int) -> list[tuple[str, ScalePhase]]:
    loads = {name: WorkerLoad(count, rank) for rank, (name, count) in enumerate(held.items())}
    return [(one.name, one.phase) for one in decide(GROUP, [needs], present, loads)]


def test_all_machines_that_tasks_need_are_made_at_once_and_no_more_than_count() -> None:
    assert changes(need(1), []) == []
    assert changes(need(3), []) == [("worker1", MAKING), ("worker2", MAKING)]
    assert changes(need(9), hosts(worker2=SERVING)) == [("worker1", MAKING), ("worker3", MAKING)]
    assert changes(need(9), hosts(worker1=MAKING, worker2=JOINING, worker3=SERVING)) == []


def test_one_that_leaves_comes_back_before_another_one_is_made() -> None:
    present = hosts(worker1=SERVING, worker2=LEAVING)
    assert changes(need(3), present, worker1=8, worker2=1) == [("worker2", JOINING)]
    assert changes(need(4), present) == [("worker2", JOINING), ("worker3", MAKING)]
    assert changes(need(4), hosts(worker1=SERVING, worker2=ENDING)) == [("worker3", MAKING)]


def test_the_emptiest_leaves_after_the_calm_and_the_next_one_when_it_has_gone() -> None:
    present = hosts(worker1=SERVING, worker2=SERVING, worker3=SERVING)
    assert changes(need(1, most=4), present, worker1=0, worker2=0, worker3=0) == []
    assert changes(need(1), present, worker1=4, worker2=0, worker3=0) == [("worker3", LEAVING)]
    assert changes(need(1), present, worker1=4, worker2=1, worker3=2) == [("worker2", LEAVING)]
    assert changes(need(1), hosts(worker1=SERVING, worker2=SERVING, worker3=LEAVING), worker1=0, worker2=0) == []


def test_a_host_whose_workers_do_not_report_is_not_chosen_and_one_that_is_not_made_goes_first() -> None:
    assert changes(need(1), hosts(worker1=SERVING, worker2=SERVING), worker1=5) == [("worker1", LEAVING)]
    assert changes(need(1), hosts(worker1=SERVING)) == []
    assert changes(need(1), hosts(worker1=SERVING, worker2=MAKING), worker1=0) == [("worker2", ENDING)]
