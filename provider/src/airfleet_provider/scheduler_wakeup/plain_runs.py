"""Which tasks of a Dag run may start now, for tasks whose rule is that all upstream tasks succeeded. No I/O, no clock.

What is not plain is left to Airflow's own examination of the run: `Decision.is_settled` is False then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from airfleet_provider.compat.calls.dag_traits import TaskTraits

ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
# A task in one of these states changes the run by a notification of its own.
ACTIVE = frozenset({"queued", "running", "restarting", "deferred", "awaiting_input"})
# The states that hold a slot of a pool, and count as active tasks of a run.
HOLDING = frozenset({"queued", "running"})
# Airflow no longer decides whether a task in one of these states becomes ready.
DECIDED = ENDED | ACTIVE | {"scheduled"}


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """A task instance, as the database has it."""

    id: str
    task: str
    map_index: int
    state: str | None
    try_number: int
    pool: str
    pool_slots: int
    executor: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class PoolRoom:
    """The slots of a pool: all, those that are free, and those that scheduled tasks wait for."""

    total: float
    free: float
    awaited: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The task instances to queue, and whether Airflow has nothing else to decide about the run afterwards."""

    ready: tuple[InstanceRow, ...] = ()
    is_settled: bool = False
    # What Airflow may decide to queue at the same time, perhaps with a higher priority. A task of unknown number is
    # here as often as its run may have active tasks.
    rivals: tuple[InstanceRow, ...] = ()


UNDECIDED = Decision()


def decide(
    tasks: Mapping[str, TaskTraits], instances: Sequence[InstanceRow], *, version: str, most_active: int
) -> Decision:
    """Decide about a running Dag run. `version` is that of its Dag, `most_active` its limit of active tasks."""
    states = {one.task: one.state for one in instances}
    ended = {one.task for one in instances if one.state in ENDED}
    counts = Counter(one.task for one in instances)
    several = {one.task for one in instances if one.map_index >= 0 or counts[one.task] > 1}
    ready, rivals = [], []
    for one in list_open(instances):
        if one.task not in tasks or _is_waiting(one, tasks[one.task], ended):
            continue
        if not _is_plain(one, tasks[one.task], several, version):
            rivals.append(one)
            continue
        before = {states.get(name, "missing") for name in tasks[one.task].before}
        if before == {"success"}:
            ready.append(one)
        elif not before <= {None, "success", *ACTIVE}:
            rivals.append(one)  # Airflow skips it, or lets it fail
    room = most_active - sum(one.state in HOLDING for one in instances)
    numerous = [one for one in rivals if not tasks[one.task].is_single]
    if (
        any(one.task not in tasks or one.state == "scheduled" for one in instances)
        or numerous  # nobody knows how many instances there will be
        or (ready and len(ready) + len(rivals) > room)
    ):
        return Decision(rivals=(*ready, *rivals, *numerous * (room - 1)))
    is_active = bool(ready) or any(one.state in ACTIVE for one in instances)
    return Decision(tuple(ready), is_active and not rivals, tuple(rivals))


def list_open(instances: Sequence[InstanceRow]) -> list[InstanceRow]:
    """Return the instances that may be queued one day, and that Airflow has not scheduled yet."""
    return [one for one in instances if one.state not in DECIDED]


def _is_waiting(one: InstanceRow, task: TaskTraits, ended: Collection[str]) -> bool:
    return one.state is None and one.map_index < 0 and task.can_wait and task.before.isdisjoint(ended)


def _is_plain(one: InstanceRow, task: TaskTraits, several: Collection[str], version: str) -> bool:
    """Return whether only the states of the tasks before it decide about an instance that has not ended.

    It must never have run: then no report of an earlier try can be taken for its own.
    """
    return (
        task.is_plain
        and one.state is None
        and one.try_number == 0
        and one.executor is None
        and one.version == version
        and task.before.isdisjoint(several)
        and one.task not in several
    )


def have_room(
    ready: Collection[InstanceRow], rivals: Collection[InstanceRow], pools: Mapping[str, PoolRoom], *, slots: int
) -> bool:
    """Return whether all that is ready fits at once beside its rivals, so that no priority decides between them.

    A rival counts in the pools of `ready` only, and for the free slots of the executor, `slots`. Tasks that are
    scheduled already come before, whatever their priority.
    """
    counts: dict[str, int] = {}
    for one in (*ready, *rivals):
        counts[one.pool] = counts.get(one.pool, 0) + one.pool_slots
    waiting = sum(room.awaited for room in pools.values())
    return len(ready) + len(rivals) + waiting <= slots and all(
        name in pools and not pools[name].awaited and counts[name] <= min(pools[name].free, pools[name].total)
        for name in {one.pool for one in ready}
    )
