"""One drill: what it breaks, and what became of each alert that it is about."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from alert_drills.bed import Bed
from alert_drills.watcher import HTTP, MAIL

# Breaks something of a bed, yields, and heals it.
Fault = Callable[[Any], Iterator[None]]
# Gets the outcomes of a drill.
Note = Callable[[Sequence["Outcome"]], None]
RECEIVERS = (HTTP, MAIL)
FIRES_S, ARRIVES_S, ENDS_S = 900.0, 300.0, 900.0


@dataclass(frozen=True, slots=True)
class Drill:
    """A fault, and the alerts that it must raise.

    `how` says how the thing was broken. `fault` breaks it, yields, and heals it. `is_late` means that the fault keeps
    the alert itself from arriving before it has healed. Then `reported_as` is the alert that people get meanwhile.
    """

    alerts: tuple[str, ...]
    how: str
    fault: Fault
    is_late: bool = False
    reported_as: str = ""
    # What must be so before the thing is broken.
    before: Callable[[Any], None] | None = None
    # The alert is no rule of Prometheus: the agents raise it.
    is_of_agents: bool = False
    fires_s: float = FIRES_S
    ends_s: float = ENDS_S

    @property
    def name(self) -> str:
        return self.alerts[0]


@dataclass(slots=True)
class Outcome:
    """What became of one alert.

    Times are in seconds: from the break until it fired and until each receiver had it, and from the heal until each
    receiver knew its end.
    """

    alert: str
    how: str
    fired_s: float | None = None
    arrived_s: dict[str, float | None] = field(default_factory=dict)
    resolved_s: dict[str, float | None] = field(default_factory=dict)
    # The alert that people got in its place, if the fault kept it from arriving.
    arrived_as: str = ""
    others: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def told_as(self) -> str:
        return self.arrived_as or self.alert

    @property
    def is_drilled(self) -> bool:
        seen = (self.fired_s, *self.arrived_s.values(), *self.resolved_s.values())
        return not self.error and len(self.resolved_s) == len(RECEIVERS) and None not in seen

    def to_json(self) -> dict[str, Any]:
        def show(times: dict[str, float | None]) -> float | None:
            return None if not times or None in times.values() else max(one for one in times.values() if one)

        return {
            "alert": self.alert,
            "drilled": self.is_drilled,
            "how": self.how,
            "fired_s": self.fired_s,
            "arrived_s": show(self.arrived_s),
            "resolved_s": show(self.resolved_s),
            **({"arrived_as": self.arrived_as} if self.arrived_as else {}),
            "others": self.others,
            **({"error": self.error} if self.error else {}),
        }


def run_together(bed: Bed, drills: Sequence[Drill], note: Note | None = None) -> list[Outcome]:
    """Run drills side by side; their faults must not disturb each other. Return an outcome for each alert.

    `note` gets the outcomes of each drill when it has ended, one drill at a time.
    """
    expected = {name.partition(" (")[0] for drill in drills for name in drill.alerts}
    lock = threading.Lock()

    def run_one(drill: Drill) -> list[Outcome]:
        began = time.monotonic()
        outcomes = run(bed, drill)
        for one in outcomes:
            one.others = bed.watcher.list_fired(began, other_than=expected)
        with lock:
            if note:
                note(outcomes)
        return outcomes

    with ThreadPoolExecutor(len(drills)) as pool:
        try:
            return [one for found in pool.map(run_one, drills) for one in found]
        except BaseException:
            bed.stopping.set()
            raise


def run(bed: Bed, drill: Drill) -> list[Outcome]:
    """Run one drill. What it waits for in vain is seen in its outcomes, and is never an exception."""
    outcomes = [Outcome(name, drill.how) for name in drill.alerts]
    bed.say(f"{drill.name}: {drill.how}")
    try:
        if drill.before:
            drill.before(bed)
        for name in drill.alerts:
            bed.wait(lambda name=name: name not in bed.watcher.firing, f"{name} is quiet")  # type: ignore[misc]
        since = time.monotonic()
        with contextmanager(drill.fault)(bed):
            _watch_begin(bed, drill, outcomes, since)
        _watch_end(bed, drill, outcomes, since, time.monotonic())
    except Exception as error:
        # The other drills go on, and the file tells of this one.
        traceback.print_exc()
        for one in outcomes:
            one.error = f"{type(error).__name__}: {error}"
    for one in outcomes:
        bed.say(f"  {'drilled' if one.is_drilled else 'NOT DRILLED'}: {one.to_json()}")
    return outcomes


def _watch_begin(bed: Bed, drill: Drill, outcomes: Sequence[Outcome], since: float) -> None:
    """Note what fires and arrives while the thing is broken."""
    if not drill.is_of_agents:
        for one in outcomes:
            one.fired_s = _since(_wait_fired(bed, one, since, drill.fires_s), since)
    if drill.reported_as:
        _wait_begin(bed, drill.reported_as, HTTP, since, drill.fires_s)
    if not drill.is_late:
        for one in outcomes:
            _note_arrival(bed, one, since, drill.fires_s if drill.is_of_agents else FIRES_S)


def _watch_end(bed: Bed, drill: Drill, outcomes: Sequence[Outcome], since: float, healed: float) -> None:
    """Note what arrives after the heal."""
    for one in outcomes:
        if drill.is_late and not _note_arrival(bed, one, since, ARRIVES_S) and drill.reported_as:
            one.arrived_as = drill.reported_as
            _note_arrival(bed, one, since, ARRIVES_S)
        if drill.is_of_agents:
            one.fired_s = one.arrived_s[HTTP]
        for receiver in RECEIVERS:
            ended = _wait_end(bed, one, receiver, since if drill.is_late else healed, drill.ends_s)
            one.resolved_s[receiver] = _since(ended, healed)


def _wait_fired(bed: Bed, one: Outcome, since: float, timeout_s: float) -> float | None:
    return bed.wait_for(lambda: bed.watcher.find_fired(one.alert, since), timeout_s)


def _wait_begin(bed: Bed, name: str, receiver: str, since: float, timeout_s: float) -> float | None:
    return bed.wait_for(lambda: bed.watcher.find_begin(name, receiver, since), timeout_s)


def _note_arrival(bed: Bed, one: Outcome, since: float, timeout_s: float) -> bool:
    """Note when each receiver learned of the alert; return whether all of them did."""
    for receiver in RECEIVERS:
        one.arrived_s[receiver] = _since(_wait_begin(bed, one.told_as, receiver, since, timeout_s), since)
    return None not in one.arrived_s.values()


def _wait_end(bed: Bed, one: Outcome, receiver: str, since: float, timeout_s: float) -> float | None:
    """Return when a receiver learned that the alert has ended, once it does not fire any more."""

    def find() -> float | None:
        return None if one.told_as in bed.watcher.firing else bed.watcher.find_end(one.told_as, receiver, since)

    return bed.wait_for(find, timeout_s)


def _since(moment: float | None, since: float) -> float | None:
    return None if moment is None else round(max(0.0, moment - since), 1)
