"""The reference load, faster and faster: at how many times real time do tasks start within five seconds?

make bench-load                                            20 minutes of the climbs: bench/results/load.json
make bench-load ARGS="--minutes 20"                        the next 20 minutes, until nothing is left
make bench-load ARGS="--spread 30 --slots 20 --output /tmp/jitter.json"     crons with jitter: `within: 30m`
make bench-load ARGS="--history 3"                         the same beside three million old task instances
make bench-load ARGS="--seconds 20 --first 8 --steps 2 --output /tmp/load.json"      a quick look

A day has 500 Dags and 50,000 tasks: 200 Dags run each hour, 200 once a day, most at night, and 100 not on this day.
Their crons are at the full hour. A factor of 20 makes an hour three minutes, and a task of ten seconds half a second.
The scheduler makes the runs itself: the bench moves the moment at which the crons of Dags are due.

A step is the hour of midnight, the fullest, or the first `--seconds` of it, at one factor. It holds if p99 of ready ->
running is below five seconds, no task failed, and all have ended before the next hour. It is given up as soon as it
cannot hold any more. The factor doubles until a step
does not hold, or halves until one does; then the greatest one is found between both. `--spread` says over how many
minutes of an hour the crons come: 0 is the full hour. Each is a climb of its own.

At any factor, the fullest hour has 7.2 tasks at once in the mean if its crons come evenly, and each task holds its slot
a little longer than it runs. So 8 slots are too few from about 10 times real time on, and 10 are in use for 72 % of
the time. At the full hour, 2,600 tasks are ready at once, and the wait is how long the slots need for all of them.

`times_real_time` is the greatest factor that held with crons that come evenly over the hour, and `p99_s` and
`utilisation` are its figures: the share of the slots' time in which tasks ran. `spread_min` says over how many minutes
the crons came: the longest spread of the file. `climbs` has the same for each spread, `0 min` being the full hour.
A climb that is not `finished` has steps left, and its greatest factor may be higher: the same command goes on with it.
Steps that are in the file already are not
run again, so a run that was interrupted goes on; `--fresh` forgets them. `load` is that of the machine before the step.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airfleet_provider.contract.statements import parse
from stock import history, own_airfleet
from stock.__main__ import scratch
from stock.crew import say
from stock.measure import prepare
from stock.system import REPOSITORY, Plan, System
from stock.workloads import LOAD

RESULTS = REPOSITORY / "bench" / "results" / "load.json"
SQL = parse((Path(__file__).parent / "load.sql").read_text())
SECONDS = Path(tempfile.gettempdir()) / "airfleet-bench-load" / "seconds"

DAY_S, HOUR_S = 24 * 3600.0, 3600.0
TASKS_A_RUN = 10
HOURLY, DAILY = 200, 200
# How many of the daily Dags run at each hour, from midnight on.
NIGHT = (60, 20, 20, 20, 20, 20, 10, *(2 for _ in range(15)), 0, 0)
LIMIT_S = 5.0
LEAST, CLOSE_ENOUGH = 0.25, 1.2
# A step that has not ended so long after its last run became due does not hold, whatever comes.
DRAIN_S = 300.0
# After a step that was given up, the tasks that ran find that out, and end.
SETTLE_S = 20.0

Step = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """How a step is made, besides its factor."""

    spread_min: float
    seconds: float
    slots: int
    task_s: float
    history: float


def list_runs(hour: int) -> list[str]:
    """Return the Dags whose crons are due at an hour of the day."""
    daily = sum(NIGHT[:hour])
    return [*LOAD.dags[:HOURLY], *LOAD.dags[HOURLY + daily : HOURLY + daily + NIGHT[hour]]]


def plan_step(shape: Shape, factor: float, hour: int = 0) -> list[tuple[float, str]]:
    """Return the Dags of a step, each with the seconds from its beginning at which the cron is due."""
    dags = list_runs(hour)
    gap_s = shape.spread_min * 60 / factor / len(dags)
    return [(place * gap_s, dag) for place, dag in enumerate(dags) if place * gap_s < shape.seconds]


def is_found(low: float, high: float) -> bool:
    """Return whether a climb is over. `low` is the greatest factor that holds, `high` the least that does not."""
    return bool(low and high / low <= CLOSE_ENOUGH) or high <= LEAST


def climb(
    first: float, most_steps: int, run_step: Callable[[float], Step], is_over: Callable[[], bool] = lambda: False
) -> list[Step]:
    """Return the steps to the greatest factor that holds, or to the moment at which the time `is_over`."""
    steps: list[Step] = []
    low, high, factor = 0.0, math.inf, first
    while len(steps) < most_steps and not is_over():
        step = run_step(factor)
        steps.append(step)
        low, high = (max(low, factor), high) if step["held"] else (low, min(high, factor))
        if is_found(low, high):
            break
        factor = math.sqrt(low * high) if low and high < math.inf else high / 2 if not low else low * 2
    return steps


def run_step(system: System, shape: Shape, factor: float) -> Step:
    """Run one step, and return its figures."""
    SECONDS.write_text(f"{shape.task_s / factor}")
    load, planned = os.getloadavg()[0], plan_step(shape, factor)
    began, sent = time.time(), 0
    while sent < len(planned):
        passed = time.time() - began
        due = [dag for at, dag in planned[sent:] if at <= passed]
        if due:
            ask(system, "come_due", {"dags": due})
            sent += len(due)
        elif (rest := planned[sent][0] - passed) > 0:
            time.sleep(min(rest, 1.0))
    last_due = time.time()
    while True:
        [(made, ended)] = ask(system, "count_runs", {"began": began - 1})
        [(late_tasks,)] = ask(system, "count_late", {"began": began - 1, "limit_s": LIMIT_S})
        is_lost = late_tasks > len(planned) * TASKS_A_RUN / 100
        if ended >= len(planned) or is_lost or time.time() - last_due > DRAIN_S:
            break
        system.crew.check()
        time.sleep(0.5)
    [(tasks, failed, p50, p99, late, busy_s, ended_at)] = ask(system, "measure", {"began": began - 1})
    took_s = (ended_at or time.time()) - began
    if ended < len(planned):
        left = ask(system, "abandon", {})
        say(f"  {len(left)} tasks of the step are given up")
        time.sleep(SETTLE_S)
    # The next hour begins then, or it would have begun if the step were not cut short.
    hour_s = max(HOUR_S / factor, took_s) if shape.spread_min == 0 else took_s
    in_time = ended >= len(planned) and (shape.spread_min > 0 or took_s <= HOUR_S / factor)
    return {
        "spread_min": shape.spread_min,
        "times_real_time": round(factor, 2),
        "runs": made,
        "tasks": tasks,
        "tasks_per_s": round(tasks / took_s, 2),
        "failed": failed,
        "p50_s": _round(p50),
        "p99_s": _round(p99),
        "cron_late_p99_s": _round(late),
        "took_s": round(took_s, 1),
        "utilisation": round((busy_s or 0) / shape.slots / hour_s, 3),
        "held": bool(in_time and not failed and p99 is not None and p99 < LIMIT_S),
        # A step that cannot hold any more is given up: its p99 is so long at least.
        "in_time": in_time,
        "load": round(load, 1),
    }


def ask(system: System, name: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement."""
    return system.metadata.ask(SQL[name], dict(values))


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


class LoadResults:
    """The file of results, which is written after each step."""

    def __init__(self, path: Path, about: Mapping[str, Any], *, fresh: bool) -> None:
        self._path = path
        found = json.loads(path.read_text()) if path.exists() and not fresh else {}
        # Steps of another set-up are no steps of this one.
        self._steps: list[Step] = found.get("steps", []) if found.get("about") == about else []
        self._about = about

    def find(self, spread_min: float, factor: float) -> Step | None:
        """Return a step that was run before."""
        wanted = (spread_min, round(factor, 2))
        return next((one for one in self._steps if (one["spread_min"], one["times_real_time"]) == wanted), None)

    def add(self, step: Step) -> None:
        """Keep a step."""
        self._steps.append(step)
        best = {one: self._find_best(one) for one in sorted({step["spread_min"] for step in self._steps})}
        spread = max(best)
        climbs = {f"{spread:g} min": {**one, "finished": self.is_finished(spread)} for spread, one in best.items()}
        top = {**climbs[f"{spread:g} min"], "spread_min": spread}
        found = {**top, "climbs": climbs, "about": self._about, "steps": self._steps}
        self._path.write_text(json.dumps(found, indent=1) + "\n")

    def is_finished(self, spread_min: float) -> bool:
        """Return whether the steps of a climb leave nothing to find out."""
        own = [one for one in self._steps if one["spread_min"] == spread_min]
        return is_found(
            max((one["times_real_time"] for one in own if one["held"]), default=0.0),
            min((one["times_real_time"] for one in own if not one["held"]), default=math.inf),
        )

    def _find_best(self, spread_min: float) -> Step:
        own = [one for one in self._steps if one["spread_min"] == spread_min]
        held = [one for one in own if one["held"]]
        if not held:
            # Nothing held: 0, with the figures of the slowest step.
            slowest = min(own, key=lambda one: one["times_real_time"])
            return {"times_real_time": 0, "p99_s": slowest["p99_s"], "utilisation": slowest["utilisation"]}
        best = max(held, key=lambda one: one["times_real_time"])
        return {key: best[key] for key in ("times_real_time", "p99_s", "utilisation")}


def start_dags(system: System) -> None:
    """Wait for the Dags, and let the bench decide when they are due."""
    deadline = time.monotonic() + 900
    while (found := ask(system, "list_dags", {})[0][0]) < len(LOAD.dags):
        if time.monotonic() > deadline:
            raise SystemExit(f"only {found} of {len(LOAD.dags)} Dags were parsed")
        system.crew.check()
        time.sleep(0.5)
    ask(system, "unpause", {})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the climbs. Write every step, and print it."""
    parser = argparse.ArgumentParser(
        prog="bench-load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--executor", choices=("local", "celery"), default="celery")
    parser.add_argument("--slots", type=int, default=10, help="tasks that may run at once")
    parser.add_argument("--task-seconds", type=float, default=10.0, help="how long a task runs, in real time")
    parser.add_argument("--history", type=float, default=0.0, help="so many million old task instances")
    parser.add_argument("--spread", default="60,0", help="minutes over which the crons of an hour come, in turn")
    parser.add_argument("--first", type=float, default=8.0, help="the first factor")
    parser.add_argument("--steps", type=int, default=12, help="steps of a climb at most")
    parser.add_argument("--seconds", type=float, default=120.0, help="a step is no longer than this")
    parser.add_argument("--minutes", type=float, default=20.0, help="begin no step later than this")
    parser.add_argument("--fresh", action="store_true", help="forget the steps in the results file")
    parser.add_argument("--output", type=Path, default=RESULTS)
    wanted = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    end = time.monotonic() + 60 * wanted.minutes
    keys = ("executor", "slots", "task_seconds", "history", "seconds")
    about = {**{key: getattr(wanted, key) for key in keys}, "cpus": os.cpu_count()}
    results = LoadResults(wanted.output, about, fresh=wanted.fresh)
    plan = Plan(wanted.executor, wanted.slots, "folder", round(wanted.history * 1e6), (), dags_of=LOAD)
    SECONDS.parent.mkdir(exist_ok=True)
    SECONDS.write_text("0")
    with scratch() as folder, own_airfleet.run(folder, plan) as system:
        prepare(system)
        start_dags(system)
        if plan.history:
            history.load(system.metadata.server_dsn, plan.history)
        for spread in map(float, wanted.spread.split(",")):
            shape = Shape(spread, wanted.seconds, wanted.slots, wanted.task_seconds, wanted.history)
            say(f"crons come over {spread:g} minutes of each hour")

            def step_of(factor: float, shape: Shape = shape) -> Step:
                found = results.find(shape.spread_min, factor)
                if found is None:
                    found = run_step(system, shape, factor)
                    results.add(found)
                say(
                    f"  {factor:.2f} times real time: {found['tasks']} tasks, {found['tasks_per_s']}/s, p99 ready -> "
                    f"running {found['p99_s']} s, {found['utilisation']:.0%} of the slots, load {found['load']}"
                    + ("" if found["held"] else ": not held")
                )
                return found

            climb(wanted.first, wanted.steps, step_of, lambda: time.monotonic() > end)
    say(f"results in {wanted.output}" + ("; the same command goes on" if time.monotonic() > end else ""))


if __name__ == "__main__":
    main()
