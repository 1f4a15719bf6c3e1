"""When a run will end: from the tasks that are not ended, and from how long the rest took after such tasks before.

The remaining time of a run is that of its remaining critical path. For each finished run, `measure` computes for each
task how long it took, and how long the longest chain of tasks below it took after it, each with the time that it waited
to start. A profile keeps the 95th percentile of both. So percentiles are not added up along a path, and the slack of
tasks that are not on the critical path does not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

# With fewer finished runs, nothing is predicted.
LEAST_SAMPLES = 3
MOST_SAMPLES = 50
QUANTILE = 0.95


@dataclass(frozen=True, slots=True)
class Measure:
    """One task of one finished run, in seconds.

    `duration_s` is how long it took, `rest_s` how long the longest chain after it took, and `end_s` how long after the
    run's start it ended.
    """

    duration_s: float
    rest_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class TaskProfile:
    """The 95th percentiles of a task's measures, in seconds."""

    duration_s: float
    rest_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What was learned of a Dag. `total_s` is the 95th percentile from when a run was due to its end, in seconds."""

    total_s: float
    runs: int
    tasks: Mapping[str, TaskProfile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskSpan:
    """When a task was ready, started and ended. A task that never started has None."""

    started_at: datetime | None
    ended_at: datetime | None
    is_ended: bool


@dataclass(frozen=True, slots=True)
class Prediction:
    """The expected end, and the task on the remaining critical path that runs now or must run next."""

    ends_at: datetime
    task_id: str | None


def measure(
    spans: Mapping[str, TaskSpan], downstream: Mapping[str, Iterable[str]], start: datetime
) -> dict[str, Measure]:
    """Return the measures of the tasks of a finished run. Tasks that never ran have none."""
    ran = {name: (one.started_at, one.ended_at) for name, one in spans.items() if one.started_at and one.ended_at}
    upstream: dict[str, list[str]] = {name: [] for name in ran}
    for name, below in downstream.items():
        for one in below:
            if name in ran and one in ran:
                upstream[one].append(name)
    rest: dict[str, float] = {}
    # A task that ended later has nothing after it that is not known yet.
    for name in sorted(ran, key=lambda one: (ran[one][0], ran[one][1]), reverse=True):
        chains = [0.0]
        for one in downstream.get(name, ()):
            if one not in ran or one not in rest:
                continue
            started, ended = ran[one]
            ready = max(ran[above][1] for above in upstream[one])
            chains.append(max((started - ready).total_seconds(), 0.0) + _seconds(started, ended) + rest[one])
        rest[name] = max(chains)
    return {
        name: Measure(_seconds(started, ended), rest[name], _seconds(start, ended))
        for name, (started, ended) in ran.items()
    }


def summarise(totals: Sequence[float], measures: Mapping[str, Sequence[Measure]]) -> Profile | None:
    """Return the profile of samples, or None if there are too few."""
    if len(totals) < LEAST_SAMPLES:
        return None
    tasks = {
        name: TaskProfile(
            find_quantile([one.duration_s for one in found]),
            find_quantile([one.rest_s for one in found]),
            find_quantile([one.end_s for one in found]),
        )
        for name, found in measures.items()
        if len(found) >= LEAST_SAMPLES
    }
    return Profile(find_quantile(totals), len(totals), tasks)


def find_quantile(values: Sequence[float]) -> float:
    """Return the 95th percentile: the smallest value that 95 % of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(QUANTILE * len(ordered)) - 1, 0)]


def predict_end(spans: Mapping[str, TaskSpan], profile: Profile, *, now: datetime) -> Prediction:
    """Return the expected end of a run that has not ended. Without a span, nothing of it has started."""
    best: tuple[float, str | None] | None = None
    for name, span in spans.items():
        known = profile.tasks.get(name)
        if span.is_ended or known is None:
            continue
        elapsed = _seconds(span.started_at, now) if span.started_at else 0.0
        left = max(known.duration_s - elapsed, 0.0) + known.rest_s
        if best is None or left > best[0]:
            best = (left, name)
    if best is None:
        left = profile.total_s if not any(span.started_at for span in spans.values()) else 0.0
        return Prediction(now + timedelta(seconds=left), None)
    return Prediction(now + timedelta(seconds=best[0]), best[1])


def predict_task_end(
    task_id: str, span: TaskSpan | None, profile: Profile, *, run_started_at: datetime | None, now: datetime
) -> Prediction | None:
    """Return the expected end of one task of a run; None if nothing was learned of the task."""
    known = profile.tasks.get(task_id)
    if known is None:
        return None
    if span and span.started_at:
        left = max(known.duration_s - _seconds(span.started_at, now), 0.0)
        return Prediction(now + timedelta(seconds=left), task_id)
    begun = run_started_at or now
    latest = max(begun + timedelta(seconds=known.end_s), now + timedelta(seconds=known.duration_s))
    return Prediction(latest, task_id)


def _seconds(start: datetime, end: datetime) -> float:
    return max((end - start).total_seconds(), 0.0)
