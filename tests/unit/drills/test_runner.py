"""The order of the actions in a drill, on a made-up fleet and clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

import pytest

from airfleet.drills.catalogue import CATALOGUE, Drill, Fault, Target
from airfleet.drills.load import Load
from airfleet.drills.outcome import DrillEvent, DrillOutcome
from airfleet.drills.runner import Pace, Runner
from airfleet.errors import AirfleetError

LEDGER = "/ledger"
BOOTED = 1_000.0  # when the made-up hosts' monotonic clocks stood at zero


@dataclass
class Said:
    out: str
    code: int = 0
    err: str = ""


@dataclass
class MadeUp:
    """Injector, platform, clock and hosts in one. Due tasks run at once, except between `down` and `up`."""

    now: float = 2_000.0
    active: str = "s1"
    calls: list[str] = field(default_factory=list)
    load: Load | None = None
    down: float = float("inf")
    up: float = float("inf")
    recovers_s: float = 3.0
    forgets: int = 0
    each_takes_s: float = 0.0
    refuses: bool = False
    breaks: Callable[[float], None] = lambda _: None
    name: str = "made up"

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.breaks(self.now)

    def find_hosts(self, component: Target) -> Sequence[str]:
        return {"worker": ("w1", "w2"), "api-server": ("a1", "a2", "a3"), "database": ("d1", "d2")}.get(component, ())

    def find_active_scheduler(self) -> str:
        return self.active

    def deploy(self, load: Load) -> None:
        self.calls.append("deploy")
        self.load = load

    def withdraw(self, load: Load) -> None:
        self.calls.append("withdraw")

    def operate(self, words: Sequence[str]) -> None:
        self.calls.append(" ".join(words))
        if self.refuses:
            raise AirfleetError("not now")

    def observe(self, began: float, ended: float) -> tuple[Sequence[DrillEvent], Sequence[str]]:
        return (DrillEvent(self.down + 1, "seen", "s2 leads"),), ()

    def inject(self, fault: Fault, hosts: Sequence[str]) -> None:
        self.calls.append(f"inject {','.join(hosts)}")
        self.down = self.now
        self.up = self.now + (fault.lasts_s or 0.0) + self.recovers_s

    def revert(self, fault: Fault, hosts: Sequence[str]) -> None:
        self.calls.append(f"revert {','.join(hosts)}")

    def run(self, script: str, *, timeout_s: float = 60) -> Said:
        if "boot_id" in script:
            return Said(f"b1\n{self.now - BOOTED} 0\n{self.now}\n")
        return Said("\n".join([*self.lines(), "end-of-ledger"]))

    def lines(self) -> list[str]:
        assert self.load is not None
        said: list[dict[str, object]] = []
        late = 0
        for number, one in enumerate(self.load.expected()[self.forgets :]):
            due = datetime.fromisoformat(one.run).timestamp()
            start = self.up + late * self.each_takes_s if self.down <= due < self.up else due
            late += self.down <= due < self.up
            if start > self.now:
                continue
            token = {"attempt": str(number)}
            place = {"dag": one.dag, "run": one.run, "task": one.task, "map": -1, "try": 1}
            here = {"host": "w1", "pid": 1, "boot": "b1", "wall": start, "mono": start - BOOTED}
            said += [{"what": "start", **token, **place, **here}]
            said += [{"what": "end", **token, "how": "ok", "mono": start - BOOTED + 0.5}]
        return [json.dumps(one) for one in said]


def drill(world: MadeUp, which: str | Drill, *, look_every_s: float = 2.0) -> DrillOutcome:
    said = CATALOGUE[which] if isinstance(which, str) else which
    pace = Pace(settle_s=20.0, look_every_s=look_every_s)
    runner = Runner(world, world, {"w1": cast(Any, world)}, lambda _: None, world.clock, world.sleep, pace)
    return runner.run(said, lambda began, length: Load(began, length, LEDGER))


def test_nobody_does_anything_while_the_primary_is_away() -> None:
    world = MadeUp(recovers_s=9.0)
    outcome = drill(world, "database-lost")
    assert outcome.is_kept, outcome.broken
    assert world.calls == ["deploy", "inject d1", "revert d1", "withdraw"]


def test_scheduler_and_database_fail_over_at_once() -> None:
    world = MadeUp(recovers_s=9.0)
    assert drill(world, "failover-twice").is_kept
    assert world.calls == ["deploy", "inject s1", "failover --database", "withdraw"]


def test_a_drill_that_needs_three_brokers_is_not_run_with_one() -> None:
    world = MadeUp()
    with pytest.raises(AirfleetError, match="broker-lost needs 3 hosts with a broker"):
        drill(world, "broker-lost")
    assert world.calls == []


def test_a_calm_take_over_is_told_with_its_gap_and_its_events() -> None:
    world = MadeUp(recovers_s=1.5)
    outcome = drill(world, "kill-scheduler")
    assert world.calls == ["deploy", "inject s1", "withdraw"]
    assert outcome.is_kept, outcome.broken
    assert outcome.got_s == pytest.approx(1.5, abs=1.0)
    assert outcome.findings.wanted == len(outcome.attempts)
    assert [event.what for event in outcome.events] == ["kill the active scheduler", "s2 leads"]
    assert outcome.window.recovered is None


def test_an_outage_is_given_back_in_its_time_and_measured_from_then() -> None:
    world = MadeUp(recovers_s=2.0)
    outcome = drill(world, "api-outage")
    assert world.calls == ["deploy", "inject a1,a2,a3", "revert a1,a2,a3", "withdraw"]
    assert outcome.window.recovered == pytest.approx(outcome.window.struck + 600.0)
    assert outcome.got_s == pytest.approx(2.0, abs=0.01)
    assert outcome.findings.lost == ()


def test_a_slow_fleet_breaks_its_bar() -> None:
    outcome = drill(MadeUp(recovers_s=8.0), "kill-scheduler")
    assert len(outcome.broken) == 1
    assert outcome.broken[0].startswith("longest gap")


def test_who_is_active_is_asked_when_the_blow_falls() -> None:
    world = MadeUp()
    began = world.now

    def fail_over(now: float) -> None:
        if now > began + 30:
            world.active = "s2"

    world.breaks = fail_over
    drill(world, "kill-scheduler")
    assert "inject s2" in world.calls


def test_a_backlog_that_is_worked_off_slowly_is_waited_for() -> None:
    outcome = drill(MadeUp(recovers_s=2.0, each_takes_s=1.0), "api-outage", look_every_s=30.0)
    assert outcome.findings.lost == ()
    assert max(one.started for one in outcome.attempts) > outcome.window.ended + 60.0


def test_what_never_ran_is_lost_once_patience_has_ended() -> None:
    world = MadeUp(forgets=1)
    outcome = drill(world, "kill-scheduler")
    assert world.load is not None
    assert outcome.findings.lost == world.load.expected()[:1]


def test_an_interrupted_drill_gives_back_what_it_took_and_withdraws_its_load() -> None:
    world = MadeUp()

    def interrupt(now: float) -> None:
        if now > world.down + 100:
            raise KeyboardInterrupt

    world.breaks = interrupt
    with pytest.raises(KeyboardInterrupt):
        drill(world, "api-outage")
    assert world.calls == ["deploy", "inject a1,a2,a3", "revert a1,a2,a3", "withdraw"]


def test_a_host_without_power_gets_it_back_only_after_the_load() -> None:
    world = MadeUp()
    outcome = drill(world, "plug-pulled")
    assert world.calls == ["deploy", "inject w1", "revert w1", "withdraw"]
    assert world.now >= outcome.window.ended


def test_a_fleet_without_the_component_is_not_struck() -> None:
    world = MadeUp()
    with pytest.raises(AirfleetError, match="no host runs a broker"):
        drill(world, "restart-broker")
    assert world.calls == ["deploy", "withdraw"]


def test_a_ledger_that_came_without_its_end_is_read_again() -> None:
    world = MadeUp()
    plain, asked = world.run, []

    def run(script: str, *, timeout_s: float = 60) -> Said:
        said = plain(script, timeout_s=timeout_s)
        asked.append(script)
        return said if "ledger" not in script or len(asked) > 6 else Said(said.out[: len(said.out) // 2])

    world.run = run  # type: ignore[method-assign]
    outcome = drill(world, "kill-scheduler")
    assert outcome.findings.lost == ()
    assert sum("ledger" in script for script in asked) == 2


def test_a_host_that_is_still_booting_is_waited_for() -> None:
    world = MadeUp()
    plain, asked = world.run, []

    def run(script: str, *, timeout_s: float = 60) -> Said:
        asked.append(script)
        return Said("", 255, "no route to host") if len(asked) < 3 else plain(script, timeout_s=timeout_s)

    world.run = run  # type: ignore[method-assign]
    assert drill(world, replace(CATALOGUE["plug-pulled"], bar_s=None)).findings.lost == ()
