"""The reference load, faster and faster: at how many times real time do tasks still start within five seconds?

500 Dags and 50,000 tasks a day are 5,000 runs of ten tasks. Runs are triggered at even intervals, each Dag in turn. A
real day is harder, because its runs start at the full hour. The load is the same for both systems.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from stock import figures
from stock.crew import say
from stock.measure import read_figures
from stock.system import System
from stock.workloads import REFERENCE

DAY_S = 24 * 3600
RUNS_A_DAY = 5_000
LIMIT_S = 5.0
DRAIN_S = 120.0
# The factor by which each step is faster than the one before.
STEP = 1.5


def climb(system: System, *, first: float, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield the figures of faster and faster steps, until a step does not hold the limit."""
    factor = first
    for number in range(30):
        found = hold(system, factor, seconds, number)
        say(
            f"  {factor:.1f} times real time: {found['offered_tasks_per_s']:.2f} tasks/s asked for, "
            f"p99 may run -> running {found['p99_s']} s" + ("" if found["held"] else ": not held")
        )
        yield found
        if not found["held"]:
            return
        factor *= STEP


def hold(system: System, factor: float, seconds: float, number: int) -> dict[str, Any]:
    """Run one step: trigger runs evenly, and wait until they end. It holds if 99 % of the tasks started in time."""
    interval = DAY_S / RUNS_A_DAY / factor
    runs: list[str] = []
    begun = time.time()
    while (due := len(runs) * interval) < seconds:
        if (early := begun + due - time.time()) > 0:
            time.sleep(early)
        dag, run = REFERENCE.dags[len(runs) % len(REFERENCE.dags)], f"step_{number}_{len(runs)}"
        system.rest.trigger(dag, run)
        runs.append(run)
    deadline = time.monotonic() + DRAIN_S
    while (left := system.metadata.count_unfinished(REFERENCE.dags, runs)) and time.monotonic() < deadline:
        system.crew.check()
        time.sleep(0.5)
    found = read_figures(system.metadata, REFERENCE.dags, runs, begun, figures.Usage()) if not left else None
    p99 = found["phases_s"]["may_run_running"]["p99"] if found else None
    return {
        "times_real_time": round(factor, 2),
        "offered_tasks_per_s": round(RUNS_A_DAY * 10 * factor / DAY_S, 2),
        "runs": len(runs),
        "p99_s": p99,
        "held": p99 is not None and p99 < LIMIT_S and found is not None and not found["failed"],
    }
