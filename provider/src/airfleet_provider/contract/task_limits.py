"""What one task may use of its host: the rules of fleet.yaml, and what holds for a task (ADR 54). No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

# The place of the rules in airflow.cfg.
SECTION, KEY = "airfleet", "task_limits"
# The key of `executor_config` under which a task asks for limits of its own.
HINT = "airfleet"
_SIZE = re.compile(r"([1-9][0-9]{0,8})([MG])")
_UNITS = {"M": 1 << 20, "G": 1 << 30}
# A task's process needs about so much of its own before its code runs.
LEAST_MEMORY = 32 << 20
LEAST_DISK_RATE = 1 << 20
LEAST_CPUS, MOST_CPUS = 0.1, 1024

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """The limits of one task, with all its processes. None means no limit of its own.

    `memory` and `memory_high` are bytes: above the second, the kernel slows the task down and reclaims its memory; at
    the first it kills the task. `cpu_weight` is its share of busy CPUs beside other tasks, which have 100. A task that
    uses more than `cpus_high` CPUs gets only the CPU time that no other process wants. `pids` counts processes and
    threads. `disk_rate` is in bytes a second, read and written, for each disk of the host.
    """

    memory: int | None = None
    memory_high: int | None = None
    cpu_weight: int | None = None
    pids: int | None = None
    cpus_high: float | None = None
    disk_rate: int | None = None

    @property
    def is_any(self) -> bool:
        """Return whether there is a limit at all."""
        return self != TaskLimits()

    @property
    def weighs_cpu(self) -> bool:
        """Return whether the kernel must know the groups of tasks when it shares out CPUs."""
        return self.cpu_weight is not None or self.cpus_high is not None


@dataclass(frozen=True, slots=True)
class LimitRule:
    """Limits for the tasks that fit all expressions. An expression must match a whole name; None matches all."""

    name: str
    pool: str | None = None
    dag: str | None = None
    task: str | None = None
    limits: TaskLimits = TaskLimits()

    def fits(self, pool: str, dag: str, task: str) -> bool:
        """Return whether the rule is about a task of a pool of workers."""
        return self.pool in (None, pool) and _matches(self.dag, dag) and _matches(self.task, task)


def find_limits(rules: Iterable[LimitRule], pool: str, dag: str, task: str, hint: object = None) -> TaskLimits:
    """Return the limits of a task: those of the first rule that fits, tightened by what the task asks for itself.

    `hint` is the value of `executor_config["airfleet"]`, whatever it is. A hint cannot widen a limit.
    """
    base = next((rule.limits for rule in rules if rule.fits(pool, dag, task)), TaskLimits())
    asked = read_hint(hint)
    return TaskLimits(
        _least(base.memory, asked.memory),
        _least(base.memory_high, asked.memory_high),
        _least(base.cpu_weight, asked.cpu_weight),
        _least(base.pids, asked.pids),
        _least(base.cpus_high, asked.cpus_high),
        _least(base.disk_rate, asked.disk_rate),
    )


def read_hint(hint: object) -> TaskLimits:
    """Return the limits that a task asks for, such as `{"memory": "2G", "pids": 100}`; what is no limit is ignored."""
    if not isinstance(hint, Mapping):
        return TaskLimits()
    memory, high = (_read_size(hint.get(name), LEAST_MEMORY) for name in ("memory", "memory_high"))
    rate = _read_size(hint.get("disk_rate"), LEAST_DISK_RATE)
    weight, pids = (
        one if isinstance(one := hint.get(name), int) and not isinstance(one, bool) and least <= one <= most else None
        for name, least, most in (("cpu_weight", 1, 10_000), ("pids", 8, 1 << 22))
    )
    return TaskLimits(memory, high, weight, pids, _read_cpus(hint.get("cpus_high")), rate)


def _read_size(value: object, least: int) -> int | None:
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    return max(least, int(found[1]) * _UNITS[found[2]]) if found else None


def _read_cpus(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and LEAST_CPUS <= value <= MOST_CPUS else None  # type: ignore[operator, arg-type]


def _least(one: Number | None, other: Number | None) -> Number | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _matches(pattern: str | None, text: str) -> bool:
    return pattern is None or re.fullmatch(pattern, text) is not None


def render(rules: Iterable[LimitRule]) -> str:
    """Return rules as the text that airflow.cfg holds."""
    return json.dumps([asdict(one) for one in rules])


def parse(text: str) -> tuple[LimitRule, ...]:
    """Return the rules of such a text; none for an empty one."""
    values: list[dict[str, Any]] = json.loads(text or "[]")
    return tuple(LimitRule(**{**one, "limits": TaskLimits(**one["limits"])}) for one in values)
