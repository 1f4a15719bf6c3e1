"""Keeps tasks that use more CPUs than they may from taking the time that others want (`cpus_high`, ADR 104).

A weight alone does not: a task with many processes has a share of each CPU, so a neighbour with one process gets its
half of one CPU and not one of two. So such a task yields: the kernel gives it only the CPU time that nobody else wants.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from airfleet_provider.processes.kernel_file import write

# How often tasks are looked at.
INTERVAL_S = 0.5
# A task may use so many seconds of its CPUs at once before it yields, and owes so many at most.
BURST_S, DEBT_S = 1.0, 1.0
# How long a task yields after the kernel has refused it a process.
REFUSED_S = 2.0


def read_used_s(file: Path) -> float:
    """Return the CPU seconds of a group with all its processes; 0 if the kernel does not count them."""
    with suppress(OSError, ValueError, IndexError):
        words = file.read_text().split(maxsplit=2)
        return int(words[1]) / 1e6 if words[0] == "usage_usec" else int(words[0]) / 1e9
    return 0.0


@dataclass(frozen=True, slots=True)
class CpuFiles:
    """The files of one task's cgroup that say what it has used, and that decide what it gets."""

    folder: Path
    # The file of its weight, its value, and the least value that the kernel knows.
    weight_file: str
    weight: int
    least: int
    # The file of the time that it has used: nanoseconds in version 1, a line of microseconds in version 2.
    time: Path
    # A line `max N` says how often the kernel has refused a process.
    refusals: Path

    def read_used_s(self) -> float:
        """Return the CPU seconds of the task with all its processes; 0 if the kernel does not count them."""
        return read_used_s(self.time)

    def count_refusals(self) -> int:
        """Return how often the task was refused a process; 0 if the kernel does not count it."""
        with suppress(OSError, ValueError, IndexError):
            return int(self.refusals.read_text().split(maxsplit=2)[1])
        return 0

    def set_yielding(self, *, yields: bool) -> None:
        """Let the task have only what nobody else wants, or its weight again. A group that has gone is left alone."""
        idle = self.folder / "cpu.idle"
        with suppress(OSError):
            if idle.exists():
                write(idle, int(yields))
            # A kernel before 5.15 has no idle groups. A group that is idle takes no weight.
            if not (yields and idle.exists()):
                write(self.folder / self.weight_file, self.least if yields else self.weight)


@dataclass(slots=True)
class CpuShare:
    """One task: the CPU seconds that it may use before it yields. Below 0, it has used more than it may."""

    files: CpuFiles
    cpus: float
    seen_at: float
    credit_s: float = field(init=False)
    is_yielding: bool = False
    _used_s: float = 0.0
    _refusals: int = 0
    _refused_until: float = 0.0

    def __post_init__(self) -> None:
        self.credit_s = self.cpus * BURST_S

    def look(self, now: float) -> None:
        """Count what the task has used, and let it yield or not."""
        used_s, refusals = self.files.read_used_s(), self.files.count_refusals()
        earned = self.cpus * (now - self.seen_at)
        credit_s = self.credit_s + earned - max(0.0, used_s - self._used_s)
        self.credit_s = min(self.cpus * BURST_S, max(-self.cpus * DEBT_S, credit_s))
        if refusals > self._refusals:
            self._refused_until = now + REFUSED_S
        self.seen_at, self._used_s, self._refusals = now, used_s, refusals
        yields = self.credit_s <= 0 or now < self._refused_until
        if yields != self.is_yielding:
            self.is_yielding = yields
            self.files.set_yielding(yields=yields)


@dataclass(slots=True)
class CpuShares:
    """The tasks of this process that have `cpus_high`, by the folder of their group."""

    tasks: dict[Path, CpuShare] = field(default_factory=dict)
    # When they are looked at next.
    due: float | None = None

    def add(self, files: CpuFiles, cpus: float, now: float) -> None:
        """Look at a task from now on."""
        self.tasks[files.folder] = CpuShare(files, cpus, now)
        self.due = now + INTERVAL_S if self.due is None else self.due

    def remove(self, files: CpuFiles) -> None:
        """Forget a task that has ended."""
        self.tasks.pop(files.folder, None)
        if not self.tasks:
            self.due = None

    def look(self, now: float) -> None:
        """Look at all tasks, if it is time to."""
        if self.due is None or now < self.due:
            return
        self.due = now + INTERVAL_S
        for task in self.tasks.values():
            task.look(now)
