"""What a cgroup of its own costs a task: make bench-cgroups, keys of bench/results/scale.json.

A process is forked 300 times, as a zygote forks a task, and each time gets a cgroup. `cgroup_ms` is the sum of the
medians of the times to make the group with a limit on memory and one on processes, to move the process, to read the
counters, and to remove the group. `cgroup_cpu_ms` is the same with a weight of CPUs too: on a busy machine, a process
that enters a group of its own waits for the group's turn.
"""

from __future__ import annotations

import json
import os
import statistics
import time

from airfleet_provider.contract.task_limits import TaskLimits
from airfleet_provider.processes.task_group import Groups, find_groups
from support import RESULTS

ROUNDS = 300
KINDS = {
    "cgroup_ms": TaskLimits(memory=1 << 30, pids=200),
    "cgroup_cpu_ms": TaskLimits(memory=1 << 30, pids=200, cpu_weight=50),
}


def run(groups: Groups, limits: TaskLimits) -> tuple[float, ...]:
    """Return the seconds of the steps for one task that does nothing."""
    begun = time.perf_counter()
    group = groups.make(limits)
    made = time.perf_counter()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        entering = time.perf_counter()
        group.join()
        os.write(writer, repr(time.perf_counter() - entering).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    joined = float(os.read(reader, 100))
    os.close(reader)
    os.close(writer)
    ended = time.perf_counter()
    group.count()
    counted = time.perf_counter()
    group.remove()
    return made - begun, joined, counted - ended, time.perf_counter() - counted


def main() -> None:
    """Run the benchmark and print its figures.

    Raises:
        SystemExit: No cgroup can be made here.
    """
    groups = find_groups()
    if groups is None:
        raise SystemExit("no cgroup can be made here: run as root, or below a delegated unit")
    figures: dict[str, object] = {"cgroup_kind": groups.kind}
    for key, limits in KINDS.items():
        rounds = [run(groups, limits) for _ in range(ROUNDS)]
        figures[key] = round(1000 * sum(statistics.median(step) for step in zip(*rounds, strict=True)), 2)
    print(json.dumps(figures, indent=2))
    path = RESULTS / "scale.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
