"""Run one drill on a fleet: start the load, inject and revert the fault, and read the attempt log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from airfleet.drills.analysis import Window, analyse
from airfleet.drills.attempt_log import AttemptLog, read_log
from airfleet.drills.catalogue import Drill, Fault, Target
from airfleet.drills.fault_scripts import is_lethal
from airfleet.drills.injector import Injector, read_attempts, read_clocks
from airfleet.drills.load import Load
from airfleet.drills.outcome import DrillEvent, DrillOutcome, judge
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.transport.shell import Shell


class DrilledFleet(Protocol):
    """The fleet of a drill."""

    @property
    def name(self) -> str: ...
    def find_hosts(self, component: Target) -> Sequence[str]:
        """Return the hosts that run a component, the most important first."""

    def find_active_scheduler(self) -> str: ...
    def deploy(self, load: Load) -> None: ...
    def withdraw(self, load: Load) -> None: ...
    def operate(self, words: Sequence[str]) -> None:
        """Run one of airfleet's commands on it."""

    def observe(self, began: float, ended: float) -> tuple[Sequence[DrillEvent], Sequence[str]]:
        """Return other events of a time span, and promises that broke in it, such as two active schedulers."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The times around the load, in seconds."""

    lead_s: float = 15.0
    settle_s: float = 300.0
    look_every_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs drills on one platform. `shells` are those of its worker hosts, which have the attempt logs."""

    platform: DrilledFleet
    injector: Injector
    shells: Mapping[str, Shell]
    notify: Callable[[str], None]
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    pace: Pace = Pace()

    def run(self, drill: Drill, load_of: Callable[[datetime, int], Load]) -> DrillOutcome:
        """Run a drill to its end. Its fault is reverted and its load withdrawn, even if it fails halfway."""
        self._require_hosts(drill)
        load = load_of(datetime.fromtimestamp(self.clock() + self.pace.lead_s, UTC), drill.length_s)
        began, ended = load.began.timestamp(), load.ends.timestamp()
        self.notify(f"{drill.name}: {load.rate:.2f} tasks/s for {drill.length_s} s")
        self.platform.deploy(load)
        try:
            self._wait_until(began + drill.fault.at_s)
            struck, recovered, events = self._inject(drill.fault)
            try:
                self._operate(drill.then)
                self._wait_until(ended)
            finally:
                if is_lethal(drill.fault.act):
                    self.injector.revert(drill.fault, struck)
            self._operate(drill.at_last)
            ledger, clocks = self._settle(load)
        finally:
            self.platform.withdraw(load)
        seen, broken = self.platform.observe(began, ended)
        window = Window(began, events[0].at, recovered, ended)
        findings = analyse(ledger.attempts, load.expected(), window, unsure_s=clocks, wrong=ledger.wrong)
        return DrillOutcome(
            drill=drill,
            platform=self.platform.name,
            window=window,
            attempts=ledger.attempts,
            events=(*events, *seen),
            findings=findings,
            broken=judge(drill, findings, struck_hosts=struck, seen=broken),
        )

    def _inject(self, fault: Fault) -> tuple[tuple[str, ...], float | None, tuple[DrillEvent, ...]]:
        """Inject the fault, and revert it in time. Return its hosts, the time of the recovery, and the events."""
        hosts = self._choose(fault)
        at = self.clock()
        events = [DrillEvent(at, "fault", str(fault), ", ".join(hosts))]
        self.notify(f"{fault}: {', '.join(hosts)}")
        try:
            self.injector.inject(fault, hosts)
            if fault.act == "restart":
                events.append(DrillEvent(self.clock(), "back", f"{fault.component} is back", ""))
            self._wait_until(at + (fault.lasts_s or 0.0))
        finally:
            if fault.lasts_s:
                self.injector.revert(fault, hosts)
                events.append(DrillEvent(self.clock(), "back", f"{fault.component} given back", ", ".join(hosts)))
        recovered = events[-1].at if len(events) > 1 else None
        self.notify("given back" if recovered else "done")
        return hosts, recovered, tuple(events)

    def _operate(self, commands: Sequence[Sequence[str]]) -> None:
        for words in commands:
            self.notify(f"airfleet {' '.join(words)}")
            self.platform.operate(words)

    def _choose(self, fault: Fault) -> tuple[str, ...]:
        if fault.which == "the active":
            return (self.platform.find_active_scheduler(),)
        hosts = tuple(self.platform.find_hosts(fault.component))
        if not hosts:
            raise AirfleetError(f"no host runs a {fault.component}", hint="this drill needs one")
        return hosts if fault.which == "every" else hosts[:1]

    def _require_hosts(self, drill: Drill) -> None:
        component = drill.fault.component
        if drill.least_hosts > 1 and (found := len(self.platform.find_hosts(component))) < drill.least_hosts:
            hint = f"give the role to {drill.least_hosts} hosts in fleet.yaml, or leave this drill out"
            raise AirfleetError(
                f"{drill.name} needs {drill.least_hosts} hosts with a {component}, not {found}", hint=hint
            )

    def _settle(self, load: Load) -> tuple[AttemptLog, float]:
        """Wait until all tasks are done, or no attempt was added for a while, and return the attempt log."""
        deadline = self.clock() + self.pace.settle_s
        wanted = set(load.expected())
        fewest = len(wanted)
        while True:
            try:
                clocks = read_clocks(self.shells, self.clock)
                ledger = read_log(read_attempts(self.shells, load.folder), clocks)
            except AirfleetError as error:  # a host that lost power may still be booting
                if self.clock() > deadline:
                    raise
                self.notify(f"{error.where}: {error.what}")
            else:
                left = wanted - {one.instance for one in ledger.attempts if one.is_done}
                if len(left) < fewest:
                    fewest, deadline = len(left), self.clock() + self.pace.settle_s
                if not left or self.clock() > deadline:
                    return ledger, clocks.unsure_s
                self.notify(f"{len(left)} of {len(wanted)} tasks are still to come")
            self.sleep(self.pace.look_every_s)

    def _wait_until(self, moment: float) -> None:
        while (left := moment - self.clock()) > 0:
            self.sleep(min(left, 1.0))
