"""Run thousands of tasks on one platform, and check that nothing grows and nothing is left: bench/results/soak.json.

make soak                      5,000 tasks
make soak ARGS="--tasks 500"   a quick look
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from stock import own_airfleet
from stock.__main__ import scratch
from stock.crew import say
from stock.measure import prepare, wait_for_runs
from stock.system import REPOSITORY, Plan, System
from stock.workloads import WORKLOADS

RESULTS = REPOSITORY / "bench" / "results" / "soak.json"
# The titles of the processes that run during the whole soak. Warm processes are replaced, and tasks end.
WATCHED = (
    "airfleet zygote pool",
    "airfleet guard",
    "airfleet scheduler",
    "airflow worker -- LocalExecutor",
    "[celeryd",
)
# The first batches fill caches and pools. A leak shows in each of the last batches, a process that ends in only one.
SETTLED = LAST = 3
MAY_GROW_MIB = 16
MAY_GROW_DESCRIPTORS = 4


def main() -> None:
    """Run the batches. Exit with 1 if something grew or was left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--executor", choices=("celery", "local"), default="local")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan = Plan(arguments.executor, 8, "folder", 0, ("wide",))
    with scratch() as folder, own_airfleet.run(folder, plan) as system:
        prepare(system)
        looks = list(soak(system, batches=max(SETTLED + 2, arguments.tasks // WORKLOADS["wide"].tasks)))
    faults = find_faults(looks)
    found = {"executor": plan.executor, "tasks": len(looks) * WORKLOADS["wide"].tasks, "faults": faults, "looks": looks}
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    say(f"{found['tasks']} tasks; {', '.join(faults) or 'nothing grew and nothing was left'}")
    sys.exit(1 if faults else 0)


def soak(system: System, *, batches: int) -> Iterator[dict[str, Any]]:
    """Yield the state of the platform after each batch of tasks."""
    workload = WORKLOADS["wide"]
    for number in range(batches):
        run = f"soak_{number}"
        begun = time.monotonic()
        system.rest.trigger_all(workload.dags, run)
        wait_for_runs(system, workload, [run])
        time.sleep(2)  # the last processes end a moment after their run
        found = look(system)
        say(f"batch {number + 1} of {batches}: {workload.tasks / (time.monotonic() - begun):.1f} tasks/s, {found}")
        yield found


def look(system: System) -> dict[str, Any]:
    """Return the processes, zombies, descriptors and proportional memory of the long-running processes."""
    processes: dict[int, psutil.Process] = {}
    for pid in system.find_roots().values():
        with suppress(psutil.Error):
            root = psutil.Process(pid)
            processes |= {one.pid: one for one in (root, *root.children(recursive=True))}
    found: dict[str, Any] = {"processes": len(processes), "zombies": 0, "descriptors": {}, "memory_mib": {}}
    for process in processes.values():
        with suppress(psutil.Error):
            found["zombies"] += process.status() == psutil.STATUS_ZOMBIE
            title = (process.cmdline() or [""])[0]
            kind = next((name for name in WATCHED if title.startswith(name)), None)
            if kind:
                add(found["descriptors"], kind, process.num_fds())
                add(found["memory_mib"], kind, process.memory_full_info().pss / (1 << 20))
    found["memory_mib"] = {kind: round(value) for kind, value in found["memory_mib"].items()}
    return found


def add(sums: dict[str, float], kind: str, value: float) -> None:
    sums[kind] = sums.get(kind, 0) + value


def find_faults(looks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what all of the last states have and the first settled state had not."""
    first, last = looks[SETTLED - 1], looks[-LAST:]
    zombies = min(look["zombies"] for look in last)
    faults = [f"{zombies} zombies"] if zombies else []
    for what, limit in (("descriptors", MAY_GROW_DESCRIPTORS), ("memory_mib", MAY_GROW_MIB)):
        for kind in last[-1][what]:
            grown = min(look[what].get(kind, 0) for look in last) - first[what].get(kind, 0)
            if grown > limit:
                faults.append(f"{kind}: {what} grew by {grown:.0f}")
    return faults


if __name__ == "__main__":
    main()
