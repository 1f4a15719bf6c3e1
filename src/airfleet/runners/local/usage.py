"""Memory and CPU of the processes below each component."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from airfleet.workspace.state_folder import Snapshot


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """What a component and all its children take: proportional memory, and CPU seconds since they began."""

    memory_mib: float
    cpu_s: float


def measure(snapshot: Snapshot) -> dict[str, ResourceUsage]:
    """The usage of each living component, by its name."""
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
