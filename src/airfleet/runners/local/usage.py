"""Whether a platform runs, and memory and CPU of each component, with all its child processes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from airfleet.workspace.state_folder import Snapshot
from airfleet_provider.contract import process_identity

# Supervisors of earlier versions note when they started in seconds since 1970, which are more than this.
FORMER_S = 1e9


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """The use of a component and its children: proportional memory in MiB, and CPU seconds since their start."""

    memory_mib: float
    cpu_s: float


def is_alive(snapshot: Snapshot) -> bool:
    """Return whether the supervisor that wrote the snapshot still runs."""
    noted = snapshot.supervisor_started
    try:
        process = psutil.Process(snapshot.supervisor)
        is_same = abs(process.create_time() - noted) < 1 if noted > FORMER_S else read_start_s(process.pid) == noted
        return is_same and process.status() != psutil.STATUS_ZOMBIE  # its new parent may be slow to reap it
    except psutil.Error:
        return False


def read_start_s(pid: int) -> float | None:
    """Return the seconds from the boot to the start of a process: a clock that is set does not change them."""
    ticks = process_identity.read_start(pid)
    return None if ticks is None else ticks / os.sysconf("SC_CLK_TCK")


def measure(snapshot: Snapshot) -> dict[str, ResourceUsage]:
    """Return the use of each running component by its name. The processes of the machine are listed once for all."""
    processes: dict[int, psutil.Process] = {}
    children: dict[int, list[psutil.Process]] = defaultdict(list)
    # psutil keeps processes with the times of their creation, by the clock of then: new children may look older.
    psutil.process_iter.cache_clear()
    for process in psutil.process_iter(["ppid"]):
        processes[process.pid] = process
        children[process.info["ppid"]].append(process)
    return {
        one.name: _measure_trees([processes[pid] for pid in (one.pid, *one.forks) if pid in processes], children)
        for one in snapshot.processes
        if one.pid
    }


def _measure_trees(roots: Sequence[psutil.Process], children: Mapping[int, Sequence[psutil.Process]]) -> ResourceUsage:
    memory, cpu, pending = 0, 0.0, list(roots)
    while pending:
        process = pending.pop()
        try:
            # A number may be used again: who began before its parent is no child of it.
            pending += [one for one in children.get(process.pid, ()) if one.create_time() >= process.create_time()]
            times = process.cpu_times()
            cpu += times.user + times.system
            memory += _measure_memory(process)
        except psutil.Error:
            continue
    return ResourceUsage(memory / 2**20, cpu)


def _measure_memory(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.AccessDenied:
        return process.memory_info().rss
