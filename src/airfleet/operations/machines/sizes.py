"""Sizes of machines for workers, from what the tasks of their pools used. A pure function, without I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from airfleet.spec.machines import GIB, MachineGroup
from airfleet.spec.topology import WorkerPool
from airfleet_provider.contract.usage_summary import LEAST_ATTEMPTS, UsageSummary

# For the system, the worker of a pool, and the warm processes that tasks are forked from. A guess, not a measurement.
RESERVED_MEMORY, RESERVED_CPUS = 2 * GIB, 1


@dataclass(frozen=True, slots=True)
class SizeAdvice:
    """What machines of a group have, and what would fit. Memory is in bytes. `why` is a sentence for a user.

    What would fit is None if too few attempts are known.
    """

    group: str
    cpus: int
    memory: int
    fitting_cpus: int | None
    fitting_memory: int | None
    why: str


def advise(
    groups: Iterable[MachineGroup], pools: Sequence[WorkerPool], usage: Iterable[UsageSummary]
) -> tuple[SizeAdvice, ...]:
    """Return advice for each group whose machines run workers and nothing else.

    It is for a machine whose slots are all taken: each by a task with the 99th percentile of memory and with the
    processors that the median task keeps busy.
    """
    used = [one for one in usage if one.task_id is None]
    return tuple(_advise(group, list(_find_pools(group, pools)), used) for group in groups if _is_for_workers(group))


def _is_for_workers(group: MachineGroup) -> bool:
    return set(group.roles or ("worker",)) == {"worker"}


def _find_pools(group: MachineGroup, pools: Sequence[WorkerPool]) -> Iterator[WorkerPool]:
    for pool in pools:
        if not group.pools or pool.name in group.pools:
            yield pool


def _advise(group: MachineGroup, pools: Sequence[WorkerPool], used: Sequence[UsageSummary]) -> SizeAdvice:
    memory, cpus, words = float(RESERVED_MEMORY), float(RESERVED_CPUS), [f"{RESERVED_MEMORY >> 30} GiB for the rest"]
    for pool in pools:
        # A queue of several pools is counted for each of them: nobody knows which one ran an attempt.
        own = [
            one for one in used if pool.name in one.pool.split("+") and one.measured >= LEAST_ATTEMPTS and one.memory
        ]
        if not own:
            known = sum(one.measured for one in used if pool.name in one.pool.split("+"))
            why = f"too few attempts of the pool {pool.name}: {known} of {LEAST_ATTEMPTS}"
            return SizeAdvice(group.name, group.cpus, group.memory, None, None, why)
        each = max(one.memory.p99 for one in own if one.memory)
        # All tasks of a pool together never get more than the limit of the pool.
        memory += min(pool.concurrency * each, pool.limits.memory or math.inf)
        busy = max(_find_busy(one) for one in own)
        cpus += min(pool.concurrency * busy, pool.limits.cpus or math.inf)
        words.append(f"{pool.name}: {pool.concurrency} tasks of {int(each) >> 20} MiB and {busy:.2f} CPUs")
    fitting = -(-int(memory) // GIB) * GIB
    return SizeAdvice(group.name, group.cpus, group.memory, math.ceil(cpus), fitting, "; ".join(words))


def _find_busy(one: UsageSummary) -> float:
    """Return how many processors a task keeps busy."""
    if one.cpu_s is None or one.run_s is None or one.run_s.p50 <= 0:
        return 1.0
    return one.cpu_s.p50 / one.run_s.p50
