"""Measures what a task used from what the kernel counted, and reports it to the API of tasks (ADR 72)."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airfleet_provider.contract.task_limits import TaskLimits
from airfleet_provider.contract.task_usage import REPORT_TO, TaskUsage
from airfleet_provider.processes.task_group import Counted

log = logging.getLogger(__name__)

# The kernel counts what is read and written in blocks of this size, whatever the disk has.
BLOCK = 512
# A report that the API does not answer is given up after this time: the slot is needed more.
ANSWER_S = 2.0


def measure(spent: resource.struct_rusage, limits: TaskLimits, counted: Counted | None = None) -> TaskUsage:
    """Return what a process and its descendants used. `spent` is what its parent got when it had ended.

    A descendant for which nobody waited is missing in `spent`. The cgroup of the task, if it had one, counts it too.
    """
    own = spent.ru_utime + spent.ru_stime
    is_group = bool(counted and counted.peak)
    return TaskUsage(
        cpu_s=max(own, counted.cpu_s if counted else 0.0),
        memory=counted.peak if counted and is_group else spent.ru_maxrss << 10,
        memory_limit=limits.memory,
        read=spent.ru_inblock * BLOCK,
        written=spent.ru_oublock * BLOCK,
        kills=counted.kills if counted else 0,
        is_group=is_group,
    )


@dataclass(slots=True)
class ChildrenWatch:
    """Measures a task that is a child of this process: what all children used after it, less what they used before."""

    read: Callable[[], resource.struct_rusage] = lambda: resource.getrusage(resource.RUSAGE_CHILDREN)
    before: resource.struct_rusage = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.read()

    def measure(self) -> TaskUsage:
        """Return what the child used. Its memory is known only if no child before it had more."""
        before, after = self.before, self.read()
        return TaskUsage(
            cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            memory=after.ru_maxrss << 10 if after.ru_maxrss > before.ru_maxrss else None,
            read=(after.ru_inblock - before.ru_inblock) * BLOCK,
            written=(after.ru_oublock - before.ru_oublock) * BLOCK,
        )


@dataclass(slots=True)
class UsageReporter:
    """Reports one attempt's process to the API of tasks, once, after it has ended. It never raises."""

    client: Any
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def report(self, used: Mapping[str, Any], exit_code: int) -> None:
        """Send what `TaskUsage.to_json` gave, or nothing of it. The token of the client says which attempt it is about.

        The state of the task is known to the platform by now, so a report that gets lost is no reason to wait.
        """
        try:
            content = {**used, "wall_s": self.clock() - self.began, "exit_code": int(exit_code)}
            # `send` and not `request`: Airflow's client would repeat that for minutes.
            self.client.send(self.client.build_request("PUT", REPORT_TO, json=content, timeout=ANSWER_S))
        except Exception as error:
            log.info("what the task used is not recorded: %s: %s", type(error).__name__, error)
