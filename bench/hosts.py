"""How many host-hours a day costs if tasks are packed on few hosts, against tasks spread over all.

make bench-hosts                                    all parts: keys of bench/results/scale.json, in 25 minutes
make bench-hosts ARGS="--part simulation"           the first part, in two minutes
make bench-hosts ARGS="--part replay --hours 2"     a quick look at the second; nothing is kept of it

The first part simulates a day.

A day has 50,000 tasks of the reference's shape: of the tasks of an hour, `FULL_HOUR` become ready at the full hour,
and nights have twice as many; they last 83 s in the mean, log-normal. Twelve hosts have 16 slots each. RabbitMQ gives
each task to the next worker that has a free slot. Both sides run the same tasks:

- *spread*: every worker has all its slots, always;
- *slots*: each five seconds, `slot_rules.decide` of the platform says how many slots each worker has, one at least, as
  with `pack: false`;
- *packed*: the same without that one slot, and a task goes to the first worker that has a free slot, as with `pack`;
- *calm*: packed, with crons that `jitter` lets begin up to half an hour later, on 24 hosts of 8 slots, off after two
  minutes: what settings can do for `utilisation`;
- *booting*: calm, and a host that was off takes tasks 90 s after it is needed;
- *ahead*: booting, with `scale: {ahead: 90s}`, so that hosts are needed before the crons of Dags come.

A host costs while it has a task, and for `OFF_AFTER_S` after that: then it could be off. In *booting* and *ahead* it
costs from the moment at which it is needed.

The second part (`hosts_replay.py`) plays twelve hours of a day like that, 180 times as fast, with real Celery workers
at a real RabbitMQ node: six hosts of eight slots, spread and packed in turns, twice each. Its figures are those of the
keys without `simulated`; all times are those of the day. Those with `full_hour` are of *packed*: half of the tasks
become ready at full hours, and the slots of all hosts are too few for them then.

The third part (`hosts_ahead.py`) plays two hours of the calm day, 60 times as fast, with real workers of 16 hosts of
eight slots that are off until they are needed, as *booting* and as *ahead*: `calm_day`. `wait_p95_s` and `utilisation`
are those of *ahead*. Its decisions are kept in `scale_log.json`.
"""

from __future__ import annotations

import argparse
import bisect
import heapq
import json
import math
import os
import random
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hosts_ahead
import hosts_replay
from airfleet_provider.contract.slot_rules import Demand, Peak, SlotInputs, WorkerReport, count_hosts, decide

RESULTS = Path(__file__).parent / "results"
DAY_S, STEP_S, CALM_S = 24 * 3600, 5, 60.0
TASKS, MEAN_S, SIGMA, FULL_HOUR = 50_000, 83.0, 1.0, 0.5
HOSTS, PER_HOST = 12, 16
OFF_AFTER_S = 600
# The way *calm*: smaller hosts, which are off sooner, and crons that come one after the other.
CALM_HOSTS, CALM_PER_HOST, CALM_OFF_AFTER_S, JITTER_S = 24, 8, 120, 1800
BOOT_S = 90
WAYS_OF_CALM = ("calm", "booting", "ahead")
# Keys that this bench does not write any more.
FORMER = ("host_hours_ratio_first", "host_wait_p95_s", "host_hours_kind")


@dataclass(frozen=True, slots=True)
class DayTask:
    """A task of the simulated day, in seconds."""

    ready: float
    takes: float
    # Whether a cron has begun its run, so that it is known before.
    is_known: bool = False


@dataclass(slots=True)
class SimulatedHosts:
    """Hosts that run the tasks of a day."""

    hosts: int = HOSTS
    per_host: int = PER_HOST
    off_after_s: int = OFF_AFTER_S
    slots: list[int] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    busy_at: list[float] = field(default_factory=list)
    ends: list[tuple[float, int]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    on_s: float = 0.0
    turn: int = 0
    is_packed: bool = False
    # The seconds until a host that is needed takes tasks, and whether that is known `boot_s` before.
    boot_s: int = 0
    looks_ahead: bool = False
    # When each host takes tasks, None while it is off.
    on_at: list[float | None] = field(default_factory=list)
    begun_at: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.slots, self.held = [self.per_host] * self.hosts, [0] * self.hosts
        self.busy_at = [-math.inf] * self.hosts
        self.on_at = [None if self.boot_s else -math.inf] * self.hosts

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
            self.begun_at.append((now, now + task.takes))

    def _find_next(self) -> int | None:
        for step in range(self.hosts):
            host = step if self.is_packed else (self.turn + step) % self.hosts
            if self.held[host] < self.slots[host]:
                self.turn = host + 1
                return host
        return None

    def count(self, now: float) -> None:
        """Add the time of the hosts that are needed now."""
        for host, held in enumerate(self.held):
            if held:
                self.busy_at[host] = now
            is_needed = now - self.busy_at[host] < self.off_after_s
            self.on_s += STEP_S * is_needed
            if self.boot_s and not is_needed:
                self.on_at[host] = None

    def scale(self, waiting: int, peak: Peak, now: float, known: Sequence[float] = ()) -> None:
        """Set the slots as the platform would. `known` is when tasks of crons will be ready."""
        demand = Demand(running=sum(self.held), admissible=waiting)
        if self.looks_ahead:
            self.begun_at = [(begun, ends) for begun, ends in self.begun_at if ends > now]
            lasting = sum(1 for begun, _ in self.begun_at if begun < now - self.boot_s)
            due = bisect.bisect(known, now + self.boot_s) - bisect.bisect(known, now)
            demand = replace(demand, lasting=lasting, due=due)
        workers = tuple(
            WorkerReport(f"{one:02}", self.slots[one], self.held[one], True, 0.0, one)
            for one, at in enumerate(self.on_at)
            if at is not None and at <= now
        )
        least, most = 1 if self.is_packed else self.hosts, self.hosts * self.per_host
        highest = peak.add(now, demand.tasks)
        inputs = SlotInputs(least, most, self.per_host, demand, workers, highest, pack=self.is_packed)
        found: Mapping[str, int] = decide(inputs).slots
        self.slots = [found.get(f"{one:02}", 0) for one in range(self.hosts)]
        for host in range(min(self.hosts, count_hosts(inputs)) if self.boot_s else 0):
            self.busy_at[host] = max(self.busy_at[host], now)
            if self.on_at[host] is None:
                self.on_at[host] = now + self.boot_s


def make_day(chance: random.Random, count: int = TASKS) -> list[DayTask]:
    """Return the tasks of a day in the order in which they become ready."""
    weights = [2.0 if hour < 6 else 1.0 for hour in range(24)]
    tasks = []
    for hour in chance.choices(range(24), weights, k=count):
        at = 0.0 if chance.random() < FULL_HOUR else chance.random() * 3600
        takes = chance.lognormvariate(math.log(MEAN_S) - SIGMA**2 / 2, SIGMA)
        tasks.append(DayTask(hour * 3600 + at, takes))
    return sorted(tasks, key=lambda one: one.ready)


def delay(day: Sequence[DayTask], chance: random.Random) -> list[DayTask]:
    """Return the tasks of a day whose crons begin up to half an hour later."""
    moved = [
        DayTask(one.ready + chance.random() * JITTER_S, one.takes, is_known=True) if one.ready % 3600 == 0 else one
        for one in day
    ]
    return sorted(moved, key=lambda one: one.ready)


def play(day: Sequence[DayTask], way: str) -> SimulatedHosts:
    """Run the tasks of a day, and return the hosts after it."""
    hosts = SimulatedHosts(is_packed=way == "packed")
    if way in WAYS_OF_CALM:
        boot_s = 0 if way == "calm" else BOOT_S
        hosts = SimulatedHosts(
            CALM_HOSTS, CALM_PER_HOST, CALM_OFF_AFTER_S, is_packed=True, boot_s=boot_s, looks_ahead=way == "ahead"
        )
    known = [one.ready for one in day if one.is_known]
    peak = Peak(CALM_S, 0.0, hosts.hosts)
    queue: deque[DayTask] = deque()
    left = deque(day)
    for now in range(0, 2 * DAY_S, STEP_S):
        hosts.finish(now)
        while left and left[0].ready <= now:
            queue.append(left.popleft())
        if way != "spread":
            hosts.scale(len(queue), peak, now, known)
        hosts.deliver(queue, now)
        hosts.count(now)
        if not (left or queue or hosts.ends):
            break
    return hosts


def measure(seed: int) -> dict[str, Any]:
    """Return the figures of a day."""
    day = make_day(random.Random(seed))  # noqa: S311 - no secret
    played = {way: play(day, way) for way in ("spread", "slots", "packed")}
    calm = delay(day, random.Random(seed + 1))  # noqa: S311 - no secret
    played |= {way: play(calm, way) for way in WAYS_OF_CALM}
    cost = {way: one.on_s / 3600 / (TASKS / 1000) for way, one in played.items()}
    busy_hours = sum(one.takes for one in day) / 3600
    return {
        "host_hours_ratio_simulated": round(cost["packed"] / cost["spread"], 3),
        "host_hours_simulated": {
            way: {
                "per_1000_tasks": round(cost[way], 2),
                "wait_p95_s": sorted(one.waits)[int(len(one.waits) * 0.95)] // 1,
                "utilisation": round(busy_hours / (one.on_s / 3600 * one.per_host), 3),
            }
            for way, one in played.items()
        },
    }


def main() -> None:
    """Run the simulation, print its figures and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("simulation", "replay", "ahead", "all"), default="all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hours", type=int, default=hosts_replay.HOURS, help="hours of the day that are played")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--print", action="store_true", dest="only_print", help="Keep nothing.")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if wanted.part in ("simulation", "all"):
        keep(measure(wanted.seed), is_whole=not wanted.only_print)
    if wanted.part in ("replay", "all"):
        share = hosts_replay.HOSTS * hosts_replay.PER_HOST / (HOSTS * PER_HOST)
        day = make_day(random.Random(wanted.seed), round(TASKS * share))  # noqa: S311 - no secret
        begins = 3 * 3600
        tasks = [(one.ready - begins, one.takes) for one in day if 0 <= one.ready - begins < wanted.hours * 3600]
        figures = hosts_replay.measure(tasks, wanted.rounds, OFF_AFTER_S)
        is_whole = (wanted.hours, wanted.rounds) >= (hosts_replay.HOURS, 2)
        keep(figures, is_whole=is_whole and not wanted.only_print)
    if wanted.part in ("ahead", "all"):
        play_ahead(wanted.seed, min(wanted.hours, hosts_ahead.HOURS), is_kept=not wanted.only_print)


def play_ahead(seed: int, hours: int, *, is_kept: bool) -> None:
    """Play the third part, and keep its figures and decisions if it was played whole."""
    load, begins = round(os.getloadavg()[0], 1), 8 * 3600
    calm = delay(make_day(random.Random(seed)), random.Random(seed + 1))  # noqa: S311 - no secret
    tasks = [
        hosts_ahead.CalmTask(one.ready - begins, one.takes, one.is_known)
        for one in calm
        if 0 <= one.ready - begins < hours * 3600
    ]
    figures, records = hosts_ahead.measure(tasks)
    figures["calm_day"]["load"] = load
    is_whole = is_kept and hours >= hosts_ahead.HOURS
    keep(figures, is_whole=is_whole)
    if is_whole:
        (RESULTS / "scale_log.json").write_text(json.dumps(records, indent=0) + "\n")


def keep(figures: dict[str, Any], *, is_whole: bool) -> None:
    """Print the figures of a part, and keep them if nothing of it was left out."""
    print(json.dumps(figures, indent=2))
    if is_whole:
        path = RESULTS / "scale.json"
        known = {key: value for key, value in json.loads(path.read_text()).items() if key not in FORMER}
        path.write_text(json.dumps({**known, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
