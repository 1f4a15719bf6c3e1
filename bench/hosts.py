"""How many host-hours a day costs if slots are packed on few hosts, against messages spread over all: a simulation.

make bench-hosts                       host_hours_ratio of bench/results/scale.json, in a minute

A day has 50,000 tasks of the reference's shape: of the tasks of an hour, `FULL_HOUR` become ready at the full hour,
and nights have twice as many; they last 83 s in the mean, log-normal. Twelve hosts have 16 slots each. RabbitMQ gives
each task to the next worker that has a free slot. Both sides run the same tasks:

- *spread*: every worker has all its slots, always;
- *slots*: each five seconds, `slot_rules.decide` of the platform says how many slots each worker has, one at least;
- *first*: a task goes to the first worker that has a free slot, as with priorities of consumers. airfleet has none yet.

A host costs while it has a task, and for `OFF_AFTER_S` after that: then it could be off. airfleet itself stops no host.
`host_hours_ratio` is that of *slots* to *spread*, `host_hours_ratio_first` that of *first* to *spread*. The waits of
tasks for a slot are `host_wait_p95_s`.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airfleet_provider.contract.slot_rules import Demand, Peak, SlotInputs, WorkerReport, decide

RESULTS = Path(__file__).parent / "results"
DAY_S, STEP_S, CALM_S = 24 * 3600, 5, 60.0
TASKS, MEAN_S, SIGMA, FULL_HOUR = 50_000, 83.0, 1.0, 0.5
HOSTS, PER_HOST = 12, 16
OFF_AFTER_S = 600


@dataclass(frozen=True, slots=True)
class DayTask:
    """A task of the simulated day, in seconds."""

    ready: float
    takes: float


@dataclass(slots=True)
class SimulatedHosts:
    """Hosts that run the tasks of a day."""

    slots: list[int] = field(default_factory=lambda: [PER_HOST] * HOSTS)
    held: list[int] = field(default_factory=lambda: [0] * HOSTS)
    busy_at: list[float] = field(default_factory=lambda: [-math.inf] * HOSTS)
    ends: list[tuple[float, int]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    on_s: float = 0.0
    turn: int = 0
    takes_first: bool = False

    def finish(self, now: float) -> None:
        """End the tasks that are over."""
        while self.ends and self.ends[0][0] <= now:
            _, host = heapq.heappop(self.ends)
            self.held[host] -= 1

    def deliver(self, queue: deque[DayTask], now: float) -> None:
        """Give each task to the next worker with a free slot."""
        while queue and (host := self._find_next()) is not None:
            task = queue.popleft()
            self.held[host] += 1
            self.waits.append(now - task.ready)
            heapq.heappush(self.ends, (now + task.takes, host))

    def _find_next(self) -> int | None:
        for step in range(HOSTS):
            host = step if self.takes_first else (self.turn + step) % HOSTS
            if self.held[host] < self.slots[host]:
                self.turn = host + 1
                return host
        return None

    def count(self, now: float) -> None:
        """Add the time of the hosts that are needed now."""
        for host, held in enumerate(self.held):
            if held:
                self.busy_at[host] = now
            if now - self.busy_at[host] < OFF_AFTER_S:
                self.on_s += STEP_S

    def scale(self, waiting: int, peak: Peak, now: float) -> None:
        """Set the slots as the platform would."""
        demand = Demand(running=sum(self.held), admissible=waiting)
        workers = tuple(WorkerReport(f"{one:02}", self.slots[one], self.held[one], True, 0.0) for one in range(HOSTS))
        most = HOSTS * PER_HOST
        highest = peak.add(now, demand.tasks)
        found: Mapping[str, int] = decide(SlotInputs(HOSTS, most, PER_HOST, demand, workers, highest)).slots
        self.slots = [found[f"{one:02}"] for one in range(HOSTS)]


def make_day(chance: random.Random) -> list[DayTask]:
    """Return the tasks of a day in the order in which they become ready."""
    weights = [2.0 if hour < 6 else 1.0 for hour in range(24)]
    tasks = []
    for hour in chance.choices(range(24), weights, k=TASKS):
        at = 0.0 if chance.random() < FULL_HOUR else chance.random() * 3600
        takes = chance.lognormvariate(math.log(MEAN_S) - SIGMA**2 / 2, SIGMA)
        tasks.append(DayTask(hour * 3600 + at, takes))
    return sorted(tasks, key=lambda one: one.ready)


def play(day: Sequence[DayTask], way: str) -> SimulatedHosts:
    """Run the tasks of a day, and return the hosts after it."""
    hosts, peak = SimulatedHosts(takes_first=way == "first"), Peak(CALM_S, 0.0, HOSTS)
    queue: deque[DayTask] = deque()
    left = deque(day)
    for now in range(0, 2 * DAY_S, STEP_S):
        hosts.finish(now)
        while left and left[0].ready <= now:
            queue.append(left.popleft())
        if way == "slots":
            hosts.scale(len(queue), peak, now)
        hosts.deliver(queue, now)
        hosts.count(now)
        if not (left or queue or hosts.ends):
            break
    return hosts


def measure(seed: int) -> dict[str, Any]:
    """Return the figures of a day."""
    day = make_day(random.Random(seed))  # noqa: S311 - no secret
    played = {way: play(day, way) for way in ("spread", "slots", "first")}
    cost = {way: one.on_s / 3600 / (TASKS / 1000) for way, one in played.items()}
    return {
        "host_hours_ratio": round(cost["slots"] / cost["spread"], 3),
        "host_hours_ratio_first": round(cost["first"] / cost["spread"], 3),
        "host_hours_per_1000_tasks": {way: round(value, 2) for way, value in cost.items()},
        "host_wait_p95_s": {way: sorted(one.waits)[int(len(one.waits) * 0.95)] // 1 for way, one in played.items()},
        "host_hours_kind": "simulated: slot_rules.decide, 12 hosts of 16 slots, 50,000 tasks",
    }


def main() -> None:
    """Run the simulation, print its figures and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--print", action="store_true", dest="only_print", help="Keep nothing.")
    wanted = parser.parse_args()
    figures = measure(wanted.seed)
    print(json.dumps(figures, indent=2))
    if not wanted.only_print:
        path = RESULTS / "scale.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
