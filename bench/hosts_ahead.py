"""Plays hours of a calm day with real Celery workers, on hosts that are off until they are needed. See `hosts.py`."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hosts_replay
import slot_site
from airfleet_provider.contract.slot_rules import (
    Demand,
    Peak,
    SlotInputs,
    WorkerReport,
    count_hosts,
    decide,
    rank_hosts,
)
from support import say

HOSTS, PER_HOST, HOURS, FASTER = 16, 8, 2, 60.0
BOOT_S, OFF_AFTER_S, CALM_S, RECORD_S, AHEAD_EVERY_S = 90.0, 120.0, 60.0, 15.0, 10.0


@dataclass(frozen=True, slots=True)
class CalmTask:
    """A task: when it is ready and how long it takes, in seconds of the day. `is_known` if a cron begins its run."""

    ready: float
    takes: float
    is_known: bool


@dataclass(slots=True)
class TaskLog:
    """What the workers have noted so far, read piece by piece."""

    path: Path
    begun: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    _read: int = 0
    _rest: str = ""

    def look(self) -> None:
        """Read what is new."""
        with self.path.open() as file:
            file.seek(self._read)
            text = self._rest + file.read()
            self._read = file.tell()
        whole, _, self._rest = text.rpartition("\n")
        for what, name, _, at in map(str.split, whole.splitlines()):
            (self.begun if what == "begun" else self.ended)[name] = float(at)


@dataclass(slots=True)
class AheadAgents:
    """Decides which hosts are on and what slots they have, as the agents and `airfleet scale machines` do together.

    All moments are seconds of the day.
    """

    names: Sequence[str]
    known: Sequence[float]
    looks_ahead: bool
    slots: dict[str, int] = field(init=False)
    ranks: dict[str, int | None] = field(init=False)
    # When each host takes tasks, None while it is off, and when it was needed last.
    on_at: dict[str, float | None] = field(init=False)
    needed_at: dict[str, float] = field(init=False)
    on_s: float = 0.0
    records: list[dict[str, Any]] = field(default_factory=list)
    _peak: Peak = field(init=False)
    _at: float = 0.0
    _looked_at: float = -math.inf
    _ahead: tuple[int, int] = (0, 0)
    _last: tuple[object, ...] = ()

    def __post_init__(self) -> None:
        self.slots, self.ranks = dict.fromkeys(self.names, 0), dict.fromkeys(self.names)
        self.on_at, self.needed_at = dict.fromkeys(self.names), dict.fromkeys(self.names, -math.inf)
        self._peak = Peak(CALM_S, 0.0, 1)

    def answer(self, host: str) -> tuple[int, int | None]:
        """Return what a worker learns."""
        return self.slots[host], self.ranks[host]

    def decide(self, now: float, desk: slot_site.SlotDesk, log: TaskLog, sent: int, began: float) -> None:
        """Decide for the tasks that were sent and have not ended."""
        left, running = sent - len(log.ended), len(log.begun) - len(log.ended)
        if self.looks_ahead and now - self._looked_at >= AHEAD_EVERY_S:
            due = bisect.bisect(self.known, now + BOOT_S) - bisect.bisect(self.known, now)
            since = began + (now - BOOT_S) / FASTER
            self._ahead = (sum(1 for name, at in log.begun.items() if at < since and name not in log.ended), due)
            self._looked_at = now
        demand = Demand(running, left - running, 0, 0.0, *self._ahead)
        on = [name for name, at in self.on_at.items() if at is not None and at <= now]
        self.ranks.update(rank_hosts(self.ranks, on))
        workers = tuple(
            WorkerReport(name, self.slots[name], desk.news[name].held, True, 0.0, self.ranks[name] or 0) for name in on
        )
        peak = self._peak.add(now, demand.tasks)
        inputs = SlotInputs(1, PER_HOST * len(self.names), PER_HOST, demand, workers, peak, pack=True)
        found = decide(inputs)
        self.slots = {**dict.fromkeys(self.names, 0), **found.slots}
        self._power(now, count_hosts(inputs), desk)
        seen = (sum(self.slots.values()), self._count_on())
        if seen != self._last or not self.records or now - self.records[-1]["at_s"] >= RECORD_S:
            figures = {"tasks": left, "running": running, "due": demand.due, "lasting": demand.lasting}
            self.records.append(
                {"at_s": round(now), **figures, "slots": seen[0], "hosts": seen[1], "reason": found.reason}
            )
            self._last = seen

    def _power(self, now: float, needed: int, desk: slot_site.SlotDesk) -> None:
        """Switch on what is needed, those first that are on already, and off what was not needed for a while."""
        order = sorted(self.names, key=lambda name: (self.on_at[name] is None, self.ranks[name] or 0, name))
        for name in order[:needed]:
            self.needed_at[name] = now
            self.on_at[name] = now + BOOT_S if self.on_at[name] is None else self.on_at[name]
        self.on_s += (now - self._at) * self._count_on()
        self._at = now
        for name in order[needed:]:
            if desk.news[name].held or self.slots[name]:
                self.needed_at[name] = now
            elif now - self.needed_at[name] >= OFF_AFTER_S:
                self.on_at[name] = None

    def _count_on(self) -> int:
        return sum(at is not None for at in self.on_at.values())


def play(tasks: Sequence[CalmTask], *, looks_ahead: bool) -> dict[str, Any]:
    """Run the tasks, and return what they cost and how long they waited."""
    names = [f"host{number:02}" for number in range(HOSTS)]
    agents = AheadAgents(names, [one.ready for one in tasks if one.is_known], looks_ahead)
    with hosts_replay.run_hosts(names, PER_HOST, agents.answer) as (site, desk):
        log, ready, began = TaskLog(site.log), {}, time.time()
        for number in _send(tasks, began, agents, desk, log):
            ready[f"t{number}"] = began + tasks[number].ready / FASTER
            site.send(f"t{number}", tasks[number].takes / FASTER)
    waits = sorted((log.begun[one] - at) * FASTER for one, at in ready.items())
    busy_s = sum(log.ended[one] - log.begun[one] for one in ready) * FASTER
    return {
        "wait_p95_s": round(waits[int(len(waits) * 0.95)], 1),
        "utilisation": round(busy_s / (agents.on_s * PER_HOST), 3),
        "host_hours": round(agents.on_s / 3600, 2),
        "tasks": len(ready),
        "records": agents.records,
    }


def _send(
    tasks: Sequence[CalmTask], began: float, agents: AheadAgents, desk: slot_site.SlotDesk, log: TaskLog
) -> Iterator[int]:
    """Yield each task when it is ready, and decide in between, until all have ended."""
    sent, patience = 0, time.monotonic() + 3600
    while len(log.ended) < len(tasks):
        if time.monotonic() > patience:
            raise SystemExit(f"only {len(log.ended)} of {len(tasks)} tasks have ended")
        now = (time.time() - began) * FASTER
        while sent < len(tasks) and tasks[sent].ready <= now:
            yield sent
            sent += 1
        with suppress(FileNotFoundError):
            log.look()
        agents.decide(now, desk, log, sent, began)
        time.sleep(0.05)


def measure(tasks: Sequence[CalmTask]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Play the tasks without a look ahead and with one; return the figures of both, and the decisions of the second."""
    found = {}
    for way, looks_ahead in (("booting", False), ("ahead", True)):
        found[way] = play(tasks, looks_ahead=looks_ahead)
        records = found[way].pop("records")
        say(f"{way}: {found[way]}")
    headline = {key: found["ahead"][key] for key in ("wait_p95_s", "utilisation")}
    return {**headline, "calm_day": {**found, "hosts": HOSTS, "slots_each": PER_HOST, "boot_s": BOOT_S}}, records
