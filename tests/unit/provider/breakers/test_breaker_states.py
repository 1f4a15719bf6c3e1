"""When a breaker opens, probes and closes: a pure function, run against a service that goes away and comes back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from airfleet_provider.breakers.rules import (
    IDLE_S,
    PROBE_S,
    QUEUED_S,
    START_S,
    BreakerMove,
    BreakerStatus,
    ProbeOutcome,
    ServiceFailure,
    count_wanted,
    decide,
    judge_probe,
    should_open,
)
from airfleet_provider.contract.breaker_rules import BreakerRule, BreakerState

RULE = BreakerRule("crm", dag="crm_.*")
OPEN = BreakerStatus("crm", BreakerState.OPEN, 7, probe_in_s=0.0)
PROBING = BreakerStatus("crm", BreakerState.HALF_OPEN, 8, wave=1)


@pytest.mark.parametrize(
    ("failures", "opens"),
    [
        ([("a", "host1"), ("b", "host2")], True),
        ([("a", "host1"), ("b", "host1")], False),
        ([("a", "host1"), ("a", "host2")], False),
        ([], False),
    ],
)
def test_two_tasks_on_two_hosts_open_it_and_fewer_do_not(failures: list[tuple[str, str]], opens: bool) -> None:
    assert should_open(RULE, [ServiceFailure(*one) for one in failures]) is opens


def test_one_host_is_enough_where_there_is_one() -> None:
    assert should_open(replace(RULE, workers=1), [ServiceFailure("a", "host1"), ServiceFailure("b", "host1")])


def test_it_probes_when_it_is_time_and_never_when_a_person_holds_it() -> None:
    assert decide(replace(OPEN, probe_in_s=3.0), RULE, [], is_more_waiting=True) is None
    assert decide(replace(OPEN, probe_in_s=None), RULE, [], is_more_waiting=True) is None
    move = decide(OPEN, RULE, [], is_more_waiting=True)
    assert move is not None
    assert (move.state, move.wave) == (BreakerState.HALF_OPEN, 1)


def test_a_probe_that_fails_opens_it_for_twice_the_time_up_to_a_limit() -> None:
    waits = []
    for failed in range(4):
        move = decide(replace(PROBING, failed_probes=failed), RULE, [ProbeOutcome.FAILED], is_more_waiting=True)
        assert move is not None
        assert (move.state, move.failed_probes) == (BreakerState.OPEN, failed + 1)
        waits.append(move.probe_in_s)
    assert waits == [10, 20, 30, 30]


def test_in_a_wave_one_bad_task_among_good_ones_is_its_own_fault() -> None:
    wave = replace(PROBING, wave=4)
    found = [ProbeOutcome.PASSED, ProbeOutcome.PASSED, ProbeOutcome.PASSED, ProbeOutcome.FAILED]
    move = decide(wave, RULE, found, is_more_waiting=False)
    assert move is not None
    assert (move.state, move.wave) == (BreakerState.HALF_OPEN, 8)
    worse = [ProbeOutcome.PASSED, ProbeOutcome.FAILED, ProbeOutcome.CHOSEN, ProbeOutcome.CHOSEN]
    move = decide(wave, RULE, worse, is_more_waiting=True)
    assert move is not None
    assert move.state is BreakerState.OPEN


def test_it_closes_early_if_nobody_else_waits() -> None:
    wave = replace(PROBING, wave=4)
    assert decide(wave, RULE, [ProbeOutcome.PASSED, ProbeOutcome.CHOSEN], is_more_waiting=False) is None
    move = decide(wave, RULE, [ProbeOutcome.PASSED, ProbeOutcome.PASSED], is_more_waiting=False)
    assert move == BreakerMove(BreakerState.CLOSED, "all tasks that waited got through")


def test_it_closes_if_a_wave_got_through_and_nobody_is_left() -> None:
    move = decide(replace(PROBING, wave=2), RULE, [], is_more_waiting=False)
    assert move is not None
    assert move.state is BreakerState.CLOSED


def test_it_stays_half_open_for_some_minutes_until_a_task_comes() -> None:
    for idle_s in (None, 0.0, IDLE_S - 1):
        assert decide(replace(PROBING, idle_s=idle_s), RULE, [], is_more_waiting=False) is None
    assert count_wanted(PROBING, []) == 1


def test_it_closes_if_no_task_has_come_for_some_minutes() -> None:
    idle = replace(PROBING, idle_s=IDLE_S + 1)
    for probes in ([], [ProbeOutcome.NOT_STARTED], [ProbeOutcome.OTHER]):
        move = decide(idle, RULE, probes, is_more_waiting=False)
        assert move is not None
        assert (move.state, move.reason) == (BreakerState.CLOSED, "no task waits for it; failures open it again")
    assert decide(idle, RULE, [ProbeOutcome.CHOSEN], is_more_waiting=False) is None


@pytest.mark.parametrize("wave", [1, 2, 4, 8])
def test_probes_that_never_start_move_nothing_and_free_their_places(wave: int) -> None:
    breaker, probes = replace(PROBING, wave=wave), [ProbeOutcome.NOT_STARTED] * 3 * wave
    assert decide(breaker, RULE, probes, is_more_waiting=True) is None
    assert count_wanted(breaker, probes) == wave


@pytest.mark.parametrize(
    ("state", "age_s", "outcome"),
    [
        ("success", 1, ProbeOutcome.PASSED),
        ("deferred", 1, ProbeOutcome.PASSED),
        ("scheduled", START_S - 1, ProbeOutcome.CHOSEN),
        ("scheduled", START_S + 1, ProbeOutcome.NOT_STARTED),
        ("queued", QUEUED_S - 1, ProbeOutcome.CHOSEN),
        ("queued", QUEUED_S + 1, ProbeOutcome.NOT_STARTED),
        ("upstream_failed", 1, ProbeOutcome.NOT_STARTED),
        ("running", PROBE_S - 1, ProbeOutcome.CHOSEN),
        ("running", PROBE_S + 1, ProbeOutcome.PASSED),
        ("restarting", 1, ProbeOutcome.OTHER),
        ("failed", 1, ProbeOutcome.OTHER),
        ("up_for_retry", 1, ProbeOutcome.OTHER),
        (None, 1, ProbeOutcome.OTHER),
    ],
)
def test_what_a_probe_shows(state: str | None, age_s: float, outcome: ProbeOutcome) -> None:
    assert judge_probe(state, age_s, ProbeOutcome.CHOSEN) is outcome
    assert judge_probe(state, age_s, ProbeOutcome.FAILED) is ProbeOutcome.FAILED


@dataclass
class Simulation:
    """Tasks that wait for a service, with a turn a second and tasks that take one turn."""

    waiting: int
    back_at: int
    breaker: BreakerStatus = field(default_factory=lambda: replace(OPEN, probe_in_s=10.0))
    probes: list[ProbeOutcome] = field(default_factory=list)
    at_once: list[int] = field(default_factory=list)

    def turn(self, now: int) -> None:
        ended = ProbeOutcome.PASSED if now >= self.back_at else ProbeOutcome.FAILED
        self.probes = [ended if one is ProbeOutcome.CHOSEN else one for one in self.probes]
        chosen = min(count_wanted(self.breaker, self.probes), self.waiting)
        self.waiting -= chosen
        self.probes += [ProbeOutcome.CHOSEN] * chosen
        self.at_once.append(self.probes.count(ProbeOutcome.CHOSEN))
        if (wait := self.breaker.probe_in_s) is not None:
            self.breaker = replace(self.breaker, probe_in_s=wait - 1)
        if move := decide(self.breaker, RULE, self.probes, is_more_waiting=self.waiting > 0):
            self.waiting += self.probes.count(ProbeOutcome.FAILED)
            self.probes = []
            self.breaker = BreakerStatus(
                "crm", move.state, self.breaker.generation + 1, move.wave, move.failed_probes, move.probe_in_s
            )


@pytest.mark.parametrize("back_at", [0, 37, 600])
def test_after_the_return_waves_of_one_two_four_and_eight_run_and_then_all(back_at: int) -> None:
    simulation = Simulation(500, back_at)
    for now in range(back_at + 120):
        simulation.turn(now)
        if now < back_at:
            assert simulation.at_once[-1] <= 1, "one canary at a time while the service is away"
        if simulation.breaker.state is BreakerState.CLOSED:
            break
    assert simulation.breaker.state is BreakerState.CLOSED
    assert now - back_at <= 60
    assert max(simulation.at_once) == 8
    assert simulation.waiting == 500 - 1 - 2 - 4 - 8
