"""Which zygotes to keep: pure decisions over plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from airfleet_provider.task_runtime.pool_key import PoolKey


@dataclass(frozen=True, slots=True)
class ZygoteLimits:
    """How many zygotes a pool may have, their total memory, and the age and number of tasks of each."""

    count: int = 32
    age_s: float = 900.0
    uses: int = 1000
    memory_mib: int = 1024


@dataclass(slots=True)
class ZygoteUsage:
    """What the pool records about one zygote; times are seconds of the pool's clock."""

    born: float
    used: float
    uses: int = 0
    memory_bytes: int = 0


def is_spent(record: ZygoteUsage, limits: ZygoteLimits, now: float) -> bool:
    """Return whether a zygote has reached its age or its number of tasks, so that a new zygote must replace it."""
    return now - record.born >= limits.age_s or record.uses >= limits.uses


def list_surplus(records: Mapping[PoolKey, ZygoteUsage], limits: ZygoteLimits, now: float) -> Iterator[PoolKey]:
    """Yield the zygotes to end: the spent ones, then the least recently used until the rest fits the limits.

    Never yields the most recently used zygote unless it is spent.
    """
    kept = []
    for pool_key, record in records.items():
        if is_spent(record, limits, now):
            yield pool_key
        else:
            kept.append((record.used, pool_key))
    kept.sort(key=lambda item: item[0])
    memory = sum(records[pool_key].memory_bytes for _, pool_key in kept)
    while len(kept) > 1 and (len(kept) > limits.count or memory > limits.memory_mib << 20):
        _, pool_key = kept.pop(0)
        memory -= records[pool_key].memory_bytes
        yield pool_key
