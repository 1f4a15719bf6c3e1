"""The limits of the tasks that a zygote forks: finds them, puts them into force, and says what the kernel counted."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from airfleet_provider.compat.calls import config
from airfleet_provider.contract import environment
from airfleet_provider.contract.task_limits import HINT, KEY, SECTION, LimitRule, TaskLimits, find_limits, parse
from airfleet_provider.processes import task_group
from airfleet_provider.processes.cpu_share import CpuShares
from airfleet_provider.processes.memory_group import MemoryGroup
from airfleet_provider.processes.task_group import Counted, Groups, Leftovers, TaskGroup

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Confinement:
    """The limits of one task. `group` is None where they are not in force, or by a limit on data alone."""

    limits: TaskLimits
    group: TaskGroup | None = None

    def enter(self) -> str | None:
        """Limit this process, which is about to become the task. Return what the task's log must say, or None."""
        if not self.limits.is_any:
            return None
        if self.group is not None:
            try:
                self.group.join()
            except OSError as error:
                return f"airfleet: the limits of this task are not in force: {error}"
            missing = ", ".join(self.group.missing)
            return f"airfleet: limits of this task that are not in force here: {missing}" if missing else None
        try:
            task_group.limit_data(self.limits)
        except (OSError, ValueError, IndexError) as error:
            return f"airfleet: the limits of this task are not in force: {error}"
        others = [name for name in OF_GROUPS if getattr(self.limits, name) is not None]
        if not others:
            return None
        return f"airfleet: no cgroup can be made here. Limits of this task that are not in force: {', '.join(others)}"


# The limits that only a cgroup can put into force.
OF_GROUPS = ("memory_high", "cpu_weight", "pids", "cpus_high", "disk_rate")
NONE = Confinement(TaskLimits())


@dataclass(slots=True)
class TaskLimiter:
    """Makes the group of each task that has limits, and removes it after the task's end."""

    rules: tuple[LimitRule, ...]
    pool: str
    find_groups: Callable[[], Groups | None] = task_group.find_groups
    leftovers: Leftovers = field(default_factory=Leftovers)
    shares: CpuShares = field(default_factory=CpuShares)
    _groups: Groups | None = None
    _is_ready: bool = False

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> TaskLimiter:
        """Return the limiter of this worker's configuration."""
        return cls(parse(config.read_setting(SECTION, KEY)), environ.get(environment.POOL, ""))

    def confine(self, bag: Any, task: object) -> Confinement:  # noqa: ANN401 - a DagBag
        """Return the confinement of a task, which a request names by the ids of its Dag and of itself."""
        if not isinstance(task, list) or len(task) != 2:
            return NONE
        limits = find_limits(self.rules, self.pool, str(task[0]), str(task[1]), read_hint(bag, *task))
        if not limits.is_any:
            return NONE
        if not self._is_ready:
            self._groups, self._is_ready = self.find_groups(), True
        if self._groups is not None:
            try:
                return Confinement(limits, self._groups.make(limits))
            except OSError as error:
                log.warning("No cgroup for %s: %s; a limit on data takes its place", task, error)
        return Confinement(limits)

    def begin(self, confinement: Confinement, now: float) -> None:
        """Watch the CPUs of a task that has begun, if it has `cpus_high`."""
        group, cpus = confinement.group, confinement.limits.cpus_high
        if group is not None and group.cpu is not None and cpus is not None:
            self.shares.add(group.cpu, cpus, now)

    def end(self, confinement: Confinement) -> Counted | None:
        """Remove the group of a task that has ended, and return what the kernel counted in it; None without a group."""
        if confinement.group is None:
            return None
        if confinement.group.cpu is not None:
            self.shares.remove(confinement.group.cpu)
        counted = confinement.group.count()
        if not self.leftovers.remove(confinement.group) and confinement.group.cpu is not None:
            # Nobody looks at the processes that it left any more.
            confinement.group.cpu.set_yielding(yields=True)
        return counted


def describe_kills(counted: Counted | None, limits: TaskLimits, worker: MemoryGroup | None = None) -> dict[str, Any]:
    """Return what the kernel says of a task in whose group it killed for want of memory; nothing for any other.

    The limit that was reached may be that of `worker`, the group of all processes of the worker.
    """
    if counted is None or not counted.kills:
        return {}
    limit = limits.memory if counted.is_own else worker.read_limit() if worker else None
    return {"kills": counted.kills, "peak": counted.peak, "own": counted.is_own, "limit": limit}


def read_hint(bag: Any, dag: str, task: str) -> object:  # noqa: ANN401 - a DagBag
    """Return what a task asks for in its `executor_config`; None for a task that is not in the file."""
    with suppress(Exception):  # whatever the author wrote there
        return bag.dags[dag].task_dict[task].executor_config.get(HINT)
    return None
