"""CPU time and memory of a system's processes, by kind of process."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil

SAMPLE_EVERY_S = 4.0
COMPONENTS = {
    "postgres": "database",
    "rabbitmq": "broker",
    "epmd": "broker",
    "api-server": "api",
    "execution-api": "execution api",
}
SUPERVISOR, TASK = "supervisor", "task child"
# The pool is a child of its guard, which is a child of the component.
FORK_DEPTH = 2


@dataclass(frozen=True)
class Seen:
    """One process below a component: its depth, its title, its CPU seconds, and those of the children it reaped."""

    component: str
    depth: int
    title: str
    own_s: float
    reaped_s: float


def name_kind(component: str, depth: int, title: str, *, runs_tasks: bool) -> str:
    """Return the kind of a process. Below the component that runs tasks are supervisors, and below them tasks."""
    if component not in ("scheduler", "worker") or depth == 0 or not runs_tasks:
        return COMPONENTS.get(component, component)
    if "warm" in title:
        return "warm process"
    return SUPERVISOR if depth == 1 else TASK


def add_up(processes: list[Seen], runner: str) -> dict[str, float]:
    """Return CPU seconds by kind. The seconds of reaped children count for the kind one level below.

    When a process ends, its seconds move to its parent, so no time is lost between two sums.
    """
    seconds: dict[str, float] = defaultdict(float)
    for one in processes:
        runs_tasks = one.component == runner
        seconds[name_kind(one.component, one.depth, one.title, runs_tasks=runs_tasks)] += one.own_s
        below = TASK if "warm" in one.title else name_kind(one.component, one.depth + 1, "", runs_tasks=runs_tasks)
        seconds[below] += one.reaped_s
    return dict(seconds)


def look(roots: Mapping[str, int]) -> list[tuple[psutil.Process, str, int]]:
    """Return every running process below the components, with its nearest component and its depth.

    `COMPONENT/PID` names a process that works for a component and is none of its children. Its depth is that of the
    component's zygote pool.
    """
    owner = {pid: name for name, pid in roots.items()}
    found: list[tuple[psutil.Process, str, int]] = []
    children: dict[int, list[int]] = defaultdict(list)
    for pid, parent in psutil._ppid_map().items():  # type: ignore[attr-defined]
        children[parent].append(pid)
    pending = [(pid, name.partition("/")[0], FORK_DEPTH if "/" in name else 0) for pid, name in owner.items()]
    while pending:
        pid, name, depth = pending.pop()
        try:
            found.append((psutil.Process(pid), name, depth))
        except psutil.Error:
            continue
        pending.extend((child, name, depth + 1) for child in children[pid] if child not in owner)
    return found


def take_cpu(roots: Mapping[str, int], runner: str) -> dict[str, float]:
    """Return CPU seconds since the start of the processes, by kind."""
    seen = []
    for process, component, depth in look(roots):
        try:
            times = process.cpu_times()
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        own, reaped = times.user + times.system, times.children_user + times.children_system
        seen.append(Seen(component, depth, title, own, reaped))
    return add_up(seen, runner)


def take_pss(roots: Mapping[str, int], runner: str) -> dict[str, float]:
    """Return proportional memory in MiB, by kind."""
    memory: dict[str, float] = defaultdict(float)
    for process, component, depth in look(roots):
        try:
            kind = name_kind(component, depth, " ".join(process.cmdline()), runs_tasks=component == runner)
            memory[kind] += process.memory_full_info().pss / 2**20
        except psutil.Error:
            continue
    return dict(memory)


class PeakMemory:
    """A context that measures memory every few seconds. Not more often, because each measurement costs CPU time."""

    def __init__(self, roots: Mapping[str, int], runner: str) -> None:
        self._roots, self._runner = roots, runner
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.at_peak: dict[str, float] = {}

    @property
    def peak_mib(self) -> float:
        return sum(self.at_peak.values())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            now = take_pss(self._roots, self._runner)
            if sum(now.values()) > self.peak_mib:
                self.at_peak = now
            if self._over.wait(SAMPLE_EVERY_S):
                return


def subtract(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Return the use between two measurements. A kind may shrink a little if its processes end under another parent."""
    return {kind: max(0.0, value - before.get(kind, 0.0)) for kind, value in after.items()}
