"""Whether the upstream tasks let a task instance start: trigger rule, setups, teardowns and mapped dependencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from airfleet_provider.contract.explanation.facts import TaskCount
from airfleet_provider.contract.explanation.structure import DagSpec, TaskSpec
from airfleet_provider.contract.explanation.trigger_rules import TriggerOutcome, UpstreamCounts, evaluate

ENDED = ("success", "failed", "upstream_failed", "skipped", "removed")


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the scheduler does next with a task instance, and the states of the tasks that it depends on.

    `needs` says in words what the instance waits for, if it is not the trigger rule.
    """

    outcome: TriggerOutcome
    counts: tuple[TaskCount, ...] = ()
    needs: str = ""


def judge(spec: DagSpec, counts: Sequence[TaskCount], task: TaskSpec, map_index: int) -> Readiness:
    """Return what the upstream tasks make of a task instance that has not started."""
    own = _select(counts, task.upstream, task, spec, map_index)
    if not task.upstream:
        return Readiness(TriggerOutcome.READY)
    if not task.is_teardown:
        setups = _judge_setups(spec, counts, task, map_index)
        if setups:
            return setups
    outcome = evaluate(task.trigger_rule, _sum_up(spec, own, task.upstream), map_index)
    if outcome is TriggerOutcome.READY and task.is_teardown and task.trigger_rule != "always":
        scope = spec.list_scope(task.task)
        inside = _select(counts, scope, task, spec, map_index)
        if _sum_up(spec, inside, scope).done < _sum_up(spec, inside, scope).total:
            return Readiness(TriggerOutcome.WAITS, inside, "all tasks between setup and teardown to end")
    return Readiness(outcome, own)


def _judge_setups(spec: DagSpec, counts: Sequence[TaskCount], task: TaskSpec, map_index: int) -> Readiness | None:
    """Return what indirect setup tasks make of a task instance, or None if they let it start."""
    if task.trigger_rule == "always":
        return None
    setups = spec.list_setups(task.task) - task.upstream
    if not setups:
        return None
    own = _select(counts, setups, task, spec, map_index)
    up = _sum_up(spec, own, setups)
    if up.bad:
        return Readiness(TriggerOutcome.FAILS, own, "its setup tasks to succeed")
    if up.skipped:
        return Readiness(TriggerOutcome.SKIPS, own, "its setup tasks to succeed")
    missing = up.total - up.success - (up.removed if map_index > -1 else 0)
    return Readiness(TriggerOutcome.WAITS, own, "its setup tasks to succeed") if missing > 0 else None


def _select(
    counts: Sequence[TaskCount], names: Collection[str], task: TaskSpec, spec: DagSpec, map_index: int
) -> tuple[TaskCount, ...]:
    """Return the states that count for the instance: in a mapped task group, those with its own map index."""

    def matters(one: TaskCount) -> bool:
        if one.task not in names or one.task not in spec.tasks:
            return False
        is_beside = task.mapped_group is not None and spec.tasks[one.task].mapped_group == task.mapped_group
        return (
            not is_beside or one.map_index is None or one.map_index < 0 or one.map_index == map_index or map_index < 0
        )

    return tuple(one for one in counts if matters(one))


def _sum_up(spec: DagSpec, counts: Sequence[TaskCount], names: Collection[str]) -> UpstreamCounts:
    states: Counter[str] = Counter()
    setups: Counter[str] = Counter()
    for one in counts:
        states[one.state] += one.count
        if spec.tasks[one.task].is_setup:
            setups[one.state] += one.count
    known = [spec.tasks[name] for name in names if name in spec.tasks]
    is_plain = not any(one.is_mapped or one.mapped_group for one in known)
    return UpstreamCounts(
        total=len(known) if is_plain else sum(states.values()),
        success=states["success"],
        skipped=states["skipped"],
        failed=states["failed"],
        upstream_failed=states["upstream_failed"],
        removed=states["removed"],
        setups=sum(one.is_setup for one in known) if is_plain else sum(setups.values()),
        setups_success=setups["success"],
        setups_skipped=setups["skipped"],
    )
