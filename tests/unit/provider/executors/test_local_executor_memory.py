"""The scheduler with a LocalExecutor shares its memory with its first workers, and does not grow with later ones."""

from __future__ import annotations

import gc
from typing import Any

from forked import run_forked


def spawn() -> dict[str, Any]:
    """Start two workers, and later the successor of one that was killed."""
    from airfleet_provider.executors.local_executor import LocalExecutor  # noqa: PLC0415 - in the fork
    from airfleet_provider.processes import heap  # noqa: PLC0415

    filled: list[int] = []
    workers: list[int] = []
    heap.fill_gaps = lambda: filled.append(1)
    executor = object.__new__(LocalExecutor)
    executor.is_prepared = False
    executor._spawn_worker = lambda: workers.append(gc.get_freeze_count())
    executor._spawn_workers_with_gc_freeze(2)
    shared, times = gc.get_freeze_count(), len(filled)
    of_a_loop = [[number] for number in range(10_000)]
    executor._spawn_workers_with_gc_freeze(1)
    return {
        "workers": len(workers),
        "shared": min(workers) > 10_000 and times > 0,
        "grown": gc.get_freeze_count() - shared > len(of_a_loop) / 2 or len(filled) > times,
    }


def test_only_the_first_workers_freeze_what_the_scheduler_has() -> None:
    assert run_forked(spawn) == {"workers": 3, "shared": True, "grown": False}
