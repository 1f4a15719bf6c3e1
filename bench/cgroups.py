"""What a cgroup of its own costs a task: make bench-cgroups, key `cgroup_ms` of bench/results/scale.json.

A process is forked 300 times, as a zygote forks a task, each time with a cgroup and without one. The figure is the
difference of the medians: to make the group, set its limits, move the process, read the counters, and remove it.
"""

from __future__ import annotations

import json
import os
import statistics
import time

from airfleet_provider.contract.task_limits import Limits
from airfleet_provider.processes.task_group import Groups, find_groups
from support import RESULTS

ROUNDS = 300
LIMITS = Limits(memory=1 << 30, pids=200, cpu_weight=50)


def run(groups: Groups | None) -> float:
    """Return the seconds that one task takes that does nothing."""
    begun = time.perf_counter()
    group = groups.make(LIMITS) if groups else None
    pid = os.fork()
    if pid == 0:
        if group:
            group.join()
        os._exit(0)
    os.waitpid(pid, 0)
    if group:
        group.count()
        group.remove()
    return time.perf_counter() - begun


def main() -> None:
    """Run the benchmark and print its figures.

    Raises:
        SystemExit: No cgroup can be made here.
    """
    groups = find_groups()
    if groups is None:
        raise SystemExit("no cgroup can be made here: run as root, or below a delegated unit")
    with_group, without = [], []
    for _ in range(ROUNDS):
        with_group.append(run(groups))
        without.append(run(None))
    cost = 1000 * (statistics.median(with_group) - statistics.median(without))
    figures = {"cgroup_ms": round(cost, 2), "cgroup_kind": groups.kind}
    print(json.dumps(figures, indent=2))
    path = RESULTS / "scale.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
