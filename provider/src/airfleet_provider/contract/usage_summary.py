"""What tasks and pools used, as `airfleet usage` shows it, and which limit on memory would fit (ADR 72)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airfleet_provider.contract.explanation.reading import Query
from airfleet_provider.contract.run_times import MOST_RUNS, RunTimePrediction, predict
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "usage_summary")

SHARES = (0.5, 0.99, 1.0)
# With fewer attempts, there is no advice.
LEAST_ATTEMPTS = 20
# A limit that fits leaves this much above the 99th percentile, and this much above the highest peak.
ABOVE_P99, ABOVE_MOST = 1.3, 1.1
STEP = 64 << 20
# A peak that differs from the limit by less than this share has reached it.
FILLED = 0.01
_COUNTS = ("attempts", "recorded", "measured", "memory_kills", "signals")


@dataclass(frozen=True, slots=True)
class ChosenAttempts:
    """The attempts that a report is about: those that ended since a moment, and perhaps only some of them.

    `pools` names the pool of each queue; a queue that is not in it is a pool of its own.
    """

    since: datetime
    dag: str | None = None
    task: str | None = None
    pool: str | None = None
    pools: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> Mapping[str, Any]:
        """Return the parameters of a statement."""
        named = {"since": self.since, "dag": self.dag, "task": self.task, "pool": self.pool}
        return {**named, "pools": json.dumps(dict(self.pools))}


@dataclass(frozen=True, slots=True)
class Quantiles:
    """The median, the 99th percentile, and the highest of some values."""

    p50: float
    p99: float
    most: float

    @classmethod
    def read(cls, found: Sequence[float | None] | None, factor: int = 1) -> Quantiles | None:
        """Return the quantiles of a row, or None if nothing was measured."""
        values = [one * factor for one in found or () if one is not None]
        return cls(*values) if len(values) == len(SHARES) else None


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """What the attempts of one task used, or those of a whole pool: then `dag_id` and `task_id` are None.

    Sizes are bytes. `attempts` ended in the time asked for; `recorded` of them have a record, `measured` with memory.
    `limit` is that of the last attempt of a task, or the highest in a pool; None if a task has none of its own.
    With `is_group`, memory is that of all processes of a task, else that of its largest one.
    """

    pool: str
    dag_id: str | None
    task_id: str | None
    attempts: int
    recorded: int
    measured: int
    memory_kills: int
    signals: int
    is_group: bool
    limit: int | None
    memory: Quantiles | None
    cpu_s: Quantiles | None
    run_s: Quantiles | None
    read: Quantiles | None
    written: Quantiles | None

    @property
    def fitting_limit(self) -> int | None:
        """Return the limit on memory that would fit, in bytes; None for too few attempts."""
        if self.memory is None or self.measured < LEAST_ATTEMPTS:
            return None
        wanted = max(self.memory.p99 * ABOVE_P99, self.memory.most * ABOVE_MOST)
        return max(STEP, -(-int(wanted) // STEP) * STEP)

    @property
    def _is_filled_by_files(self) -> bool:
        """Return whether the peak is the limit, and yet memory killed nothing: the kernel took cached files back."""
        if self.memory is None or not self.limit or not self.is_group or self.memory_kills:
            return False
        return abs(self.memory.most - self.limit) <= FILLED * self.limit

    @property
    def advice(self) -> str:
        """Return what to do about the limit on memory, in one sentence; empty if there is nothing to say."""
        if self.memory_kills and self.limit and self.task_id:
            return (
                f"memory killed {self.memory_kills} of {self.attempts} attempts, and the limit is "
                f"{write_size(self.limit)}: try `memory: {write_setting(2 * self.limit)}`"
            )
        fitting = self.fitting_limit
        if self.memory is None or fitting is None:
            return f"too few attempts for advice: {self.measured} of {LEAST_ATTEMPTS}" if self.task_id else ""
        if self.limit is None:
            return f"no limit; `memory: {write_setting(fitting)}` would fit" if self.task_id else ""
        if self.task_id is None:
            return f"p99 {write_size(self.memory.p99)} of {write_size(self.limit)} asked"
        if self._is_filled_by_files:
            return (
                f"reached its limit of {write_size(self.limit)} without a kill: files that it read or wrote filled it"
            )
        if fitting > self.limit:
            return f"near its limit of {write_size(self.limit)}; `memory: {write_setting(fitting)}` would leave room"
        if 2 * fitting <= self.limit:
            return (
                f"p99 {write_size(self.memory.p99)} of {write_size(self.limit)} asked; "
                f"`memory: {write_setting(fitting)}` would fit"
            )
        return "the limit fits"


def summarise(query: Query, chosen: ChosenAttempts) -> tuple[UsageSummary, ...]:
    """Return the usage of each pool, each followed by its tasks."""
    return tuple(_read_rows(query(SQL["summarise"], {**chosen.words, "shares": list(SHARES)})))


def predict_run_times(query: Query, chosen: ChosenAttempts) -> Mapping[tuple[str, str], RunTimePrediction]:
    """Return the predictions of those tasks that have enough runs, by the ids of Dag and task."""
    rows = query(SQL["list_run_times"], {**chosen.words, "most": MOST_RUNS})
    found = {(row["dag_id"], row["task_id"]): predict(row["durations"]) for row in rows}
    return {task: one for task, one in found.items() if one}


def _read_rows(rows: Iterable[Mapping[str, Any]]) -> Iterable[UsageSummary]:
    for row in rows:
        yield UsageSummary(
            **{name: row[name] for name in ("pool", "dag_id", "task_id", "is_group", *_COUNTS)},
            limit=None if row["limit_kib"] is None else row["limit_kib"] << 10,
            memory=Quantiles.read(row["memory_kib"], 1 << 10),
            cpu_s=Quantiles.read(row["cpu_s"]),
            run_s=Quantiles.read(row["run_s"]),
            read=Quantiles.read(row["read_kib"], 1 << 10),
            written=Quantiles.read(row["written_kib"], 1 << 10),
        )


def write_size(size: float) -> str:
    """Return a size for a person, such as 1.1 GiB."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"


def write_setting(size: int) -> str:
    """Return a size as fleet.yaml has it, such as 1472M or 2G."""
    return f"{size >> 30}G" if size % (1 << 30) == 0 else f"{-(-size >> 20)}M"
