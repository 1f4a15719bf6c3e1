"""Memory and CPU of each component, with all its child processes."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from airfleet.workspace.state_folder import Snapshot


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """The use of a component and its children: proportional memory in MiB, and CPU seconds since their start."""

    memory_mib: float
    cpu_s: float


def measure(snapshot: Snapshot) -> dict[str, ResourceUsage]:
    """Return the use of each running component by its name."""
    return {process.name: _measure_tree(process.pid) for process in snapshot.processes if process.pid}


def _measure_tree(pid: int) -> ResourceUsage:
    memory, cpu = 0, 0.0
    try:
        root = psutil.Process(pid)
        members = [root, *root.children(recursive=True)]
    except psutil.Error:
        return ResourceUsage(0.0, 0.0)
    for process in members:
        try:
            times = process.cpu_times()
            cpu += times.user + times.system
            memory += process.memory_full_info().pss
        except psutil.AccessDenied:
            memory += process.memory_info().rss
        except psutil.Error:
            continue
    return ResourceUsage(memory / 2**20, cpu)
