"""Compute the figures of one workload from the data of the database and the kernel. No I/O."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PHASES = ("finished_ready", "ready_queued", "queued_running", "running_finished", "may_run_running")
PERCENTS = (50, 95, 99)


@dataclass(frozen=True)
class Instance:
    """One task instance. Times are seconds since 1970."""

    dag: str
    run: str
    task: str
    state: str | None
    ready: float | None
    queued: float | None
    started: float | None
    ended: float | None


@dataclass(frozen=True)
class Run:
    """One Dag run. Times are seconds since 1970."""

    dag: str
    run: str
    state: str
    queued: float
    ended: float | None


@dataclass(frozen=True)
class Usage:
    """The resources that were used from the first trigger to the last end. CPU is in seconds."""

    cpu: Mapping[str, float] = field(default_factory=dict)
    pss_mib: Mapping[str, float] = field(default_factory=dict)
    peak_pss_mib: float = 0.0
    connections: int = 0
    transactions: int = 0


def percentile(values: Iterable[float], percent: float) -> float | None:
    """Return the smallest value that this share of all values does not exceed, or None without values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def list_upstream(edges: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Convert the tasks after each task into the tasks before each task."""
    upstream: dict[str, set[str]] = {task: set() for task in edges}
    for task, after in edges.items():
        for other in after:
            upstream.setdefault(other, set()).add(task)
    return upstream


def measure_phases(
    instances: Sequence[Instance], runs: Sequence[Run], upstream: Mapping[str, Mapping[str, Collection[str]]]
) -> dict[str, list[float]]:
    """Return the seconds of every task instance in each phase.

    A task may run when all tasks before it have ended, or when its run exists if there are none. It is ready when the
    scheduler has noticed that.
    """
    begun = {(run.dag, run.run): run.queued for run in runs}
    ends: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for one in instances:
        if one.ended is not None:
            ends[one.dag, one.run, one.task].append(one.ended)
    phases: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for one in instances:
        before = [end for task in upstream[one.dag][one.task] for end in ends[one.dag, one.run, task]]
        may_run = max(before, default=begun[one.dag, one.run])
        for phase, start, end in (
            ("finished_ready", may_run, one.ready),
            ("ready_queued", one.ready, one.queued),
            ("queued_running", one.queued, one.started),
            ("running_finished", one.started, one.ended),
            ("may_run_running", may_run, one.started),
        ):
            if start is not None and end is not None:
                # Two processes read the clock at slightly different times, so a difference may be below zero.
                phases[phase].append(max(0.0, end - start))
    return phases


def summarise(
    *, begun: float, instances: Sequence[Instance], runs: Sequence[Run], phases: Mapping[str, list[float]], usage: Usage
) -> dict[str, Any]:
    """Return the figures of one workload, from the first trigger to the end of the last run."""
    wall = max(run.ended for run in runs if run.ended is not None) - begun
    count = len(instances)
    return {
        "tasks": count,
        "failed": sum(one.state not in ("success", "skipped") for one in instances),
        "wall_s": round(wall, 3),
        "tasks_per_s": round(count / wall, 3),
        "phases_s": {
            phase: {f"p{percent}": _round(percentile(values, percent)) for percent in PERCENTS}
            for phase, values in phases.items()
        },
        "cpu_s_per_task": {kind: round(seconds / count, 4) for kind, seconds in sorted(usage.cpu.items())}
        | {"all": round(sum(usage.cpu.values()) / count, 4)},
        "peak_pss_mib": round(usage.peak_pss_mib, 1),
        "pss_mib": {kind: round(value, 1) for kind, value in sorted(usage.pss_mib.items())},
        "connections_per_task": round(usage.connections / count, 3),
        "transactions_per_task": round(usage.transactions / count, 2),
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
