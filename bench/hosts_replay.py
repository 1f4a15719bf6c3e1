"""Plays hours of a day with real Celery workers at a real RabbitMQ node, spread and packed. See `hosts.py`."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import brokers
import slot_site
from airfleet_provider.contract.slot_rules import Demand, Peak, SlotInputs, WorkerReport, decide, rank_hosts
from support import say, wait

HOSTS, PER_HOST, HOURS, FASTER = 6, 8, 12, 180.0
# Shorter than this, slots would come and go faster than workers report.
CALM_S = 1.0
WAYS = ("spread", "packed")

Lines = list[tuple[str, str, str, float]]


class SlotAgents:
    """Decides the slots of the workers, as the agents of a fleet do, or leaves them all."""

    def __init__(self, names: Sequence[str], *, is_packed: bool) -> None:
        self.slots: dict[str, int] = dict.fromkeys(names, PER_HOST)
        self.ranks: dict[str, int | None] = dict.fromkeys(names)
        self._is_packed = is_packed
        self._peak = Peak(CALM_S, time.monotonic(), 1)

    def answer(self, host: str) -> tuple[int, int | None]:
        """Return what a worker learns."""
        return self.slots[host], self.ranks[host]

    def decide(self, desk: slot_site.SlotDesk, left: int) -> None:
        """Decide for this many tasks that were sent and have not ended."""
        if not self._is_packed:
            return
        now = time.monotonic()
        known = [name for name in self.slots if name in desk.news]
        ranks = rank_hosts(self.ranks, known)
        workers = tuple(
            WorkerReport(name, self.slots[name], desk.news[name].held, True, now - desk.news[name].at, ranks[name])
            for name in known
        )
        most = PER_HOST * len(self.slots)
        peak = self._peak.add(now, left)
        found = decide(SlotInputs(1, most, PER_HOST, Demand(running=left), workers, peak, pack=True))
        self.slots = {**dict.fromkeys(self.slots, 0), **found.slots}
        self.ranks.update(ranks)


def play(tasks: Sequence[tuple[float, float]], way: str, off_after_s: float) -> dict[str, float]:
    """Run the tasks, each with the moment at which it is ready and the seconds it takes; return what it cost."""
    names = [f"host{number}" for number in range(HOSTS)]
    agents = SlotAgents(names, is_packed=way == "packed")
    with run_hosts(names, PER_HOST, agents.answer) as (site, desk):
        ready = send(tasks, site, desk, agents)
        lines = site.read()
    return count(lines, ready, off_after_s / FASTER)


@contextmanager
def run_hosts(
    names: Sequence[str], slots: int, answer: Callable[[str], tuple[int, int | None]]
) -> Iterator[tuple[slot_site.SlotSite, slot_site.SlotDesk]]:
    """Run a worker of threads for each host, and the desk that gives them slots; begin when all have reported."""
    desk = slot_site.SlotDesk(answer)
    with (
        tempfile.TemporaryDirectory() as folder,
        brokers.serve(queues=(slot_site.QUEUE,)) as broker,
        slot_site.run_workers(Path(folder), broker, desk, names, slots, pool="threads") as site,
    ):
        wait(lambda: set(names) <= desk.news.keys(), "all workers")
        yield site, desk
    desk.close()


def send(
    tasks: Sequence[tuple[float, float]], site: slot_site.SlotSite, desk: slot_site.SlotDesk, agents: SlotAgents
) -> dict[str, float]:
    """Send each task when it is ready, wait until all have ended, and return when each was ready."""
    began, sent, ready, patience = time.time(), 0, {}, time.monotonic() + 3600
    while (ended := site.log.read_text().count("ended")) < len(tasks):
        if time.monotonic() > patience:
            raise SystemExit(f"only {ended} of {len(tasks)} tasks have ended")
        agents.decide(desk, sent - ended)
        until = time.monotonic() + slot_site.AGAIN_S
        while sent < len(tasks) and time.monotonic() < until and began + tasks[sent][0] / FASTER <= time.time():
            ready[f"t{sent}"] = began + tasks[sent][0] / FASTER
            site.send(f"t{sent}", tasks[sent][1] / FASTER)
            sent += 1
        time.sleep(max(0.0, until - time.monotonic()))
    return ready


def count(lines: Lines, ready: dict[str, float], off_after_s: float) -> dict[str, float]:
    """Return the hours for which hosts were needed, how long tasks waited, and the share of their slots in use."""
    begun = {name: at for what, name, _, at in lines if what == "begun"}
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for what, name, host, at in lines:
        if what == "ended":
            spans[host].append((begun[name], at))
    on_s = 0.0
    for own in spans.values():
        until = 0.0
        for begins, ends in sorted(own):
            on_s += max(0.0, ends + off_after_s - max(until, begins))
            until = max(until, ends + off_after_s)
    busy_s = sum(ends - begins for own in spans.values() for begins, ends in own)
    waits = sorted(begun[name] - at for name, at in ready.items())
    return {
        "host_hours": round(on_s * FASTER / 3600, 2),
        "wait_p95_s": round(waits[int(len(waits) * 0.95)] * FASTER, 1),
        "utilisation": round(busy_s / (on_s * PER_HOST), 3),
        "ran_twice": sum(1 for what, *_ in lines if what == "ended") - len(ready),
    }


def measure(tasks: Sequence[tuple[float, float]], rounds: int, off_after_s: float) -> dict[str, Any]:
    """Play the tasks in both ways in turns, and return the figures."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            found[way].append(play(tasks, way, off_after_s))
            say(f"{way}: {found[way][-1]}")

    def mean(way: str, key: str) -> float:
        return round(sum(one[key] for one in found[way]) / len(found[way]), 3)

    return {
        "host_hours_ratio": round(mean("packed", "host_hours") / mean("spread", "host_hours"), 3),
        "host_hours_per_1000_tasks": {way: round(mean(way, "host_hours") * 1000 / len(tasks), 2) for way in WAYS},
        "wait_p95_full_hour_s": mean("packed", "wait_p95_s"),
        "wait_p95_spread_s": mean("spread", "wait_p95_s"),
        "utilisation_full_hour": mean("packed", "utilisation"),
        "utilisation_spread": mean("spread", "utilisation"),
        "host_rounds": found,
    }
