"""The rules of supervision, one situation after another."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from airfleet.runners.local.supervision import (
    FORGIVEN_AFTER_S,
    HUNG_AFTER_S,
    LONGEST_BACKOFF_S,
    START_TIMEOUT_S,
    Do,
    Phase,
    ProcessRules,
    Seen,
    SupervisedProcess,
    backoff,
    decide,
    describe_exit,
)

PLAIN = ProcessRules(once=False, skippable=False, ahead=False, checked=True, stop_timeout_s=10)
WARM = replace(PLAIN, ahead=True)
JOB = ProcessRules(once=True, skippable=False, ahead=True, checked=False, stop_timeout_s=10)
SKIPPABLE = replace(JOB, skippable=True)
UNCHECKED = replace(PLAIN, checked=False)

WAITED_FOR = Seen(now=1000.0, alive=False, released=False)
FREE = replace(WAITED_FOR, released=True)
ALIVE = replace(FREE, alive=True)


def in_phase(phase: Phase, **changes: Any) -> SupervisedProcess:  # noqa: ANN401
    return replace(SupervisedProcess(phase=phase, since=1000.0, forked=True, gate_open=True), **changes)


def after(seconds: float, seen: Seen, **changes: Any) -> Seen:  # noqa: ANN401
    return replace(seen, now=1000.0 + seconds, **changes)


@pytest.mark.parametrize(
    ("rules", "seen", "expected"),
    [
        pytest.param(PLAIN, WAITED_FOR, Do.NOTHING, id="a plain process waits for what is before it"),
        pytest.param(PLAIN, FREE, Do.START, id="and starts then"),
        pytest.param(PLAIN, replace(FREE, forkable=False), Do.START, id="it needs no image"),
        pytest.param(WARM, WAITED_FOR, Do.START, id="a warm one is forked before it may run"),
        pytest.param(WARM, replace(FREE, forkable=False), Do.NOTHING, id="but only from a living image"),
        pytest.param(SKIPPABLE, WAITED_FOR, Do.NOTHING, id="a job that may be skipped waits for who can say so"),
        pytest.param(SKIPPABLE, FREE, Do.START, id="and starts when it has news"),
    ],
)
def test_who_is_started(rules: ProcessRules, seen: Seen, expected: Do) -> None:
    unit, action = decide(SupervisedProcess(), rules, seen)
    assert action is expected
    assert unit.phase is Phase.WAITING
    assert unit.forked is (expected is Do.START)


def test_a_job_that_was_done_before_is_done_without_a_start() -> None:
    unit, action = decide(SupervisedProcess(), SKIPPABLE, replace(FREE, done_before=True))
    assert (unit.phase, unit.forked, action) == (Phase.DONE, False, Do.NOTHING)


def test_a_forked_process_runs_only_when_it_is_released() -> None:
    unit, _ = decide(SupervisedProcess(), WARM, WAITED_FOR)
    held, action = decide(unit, WARM, replace(WAITED_FOR, alive=True))
    assert (held, action) == (unit, Do.NOTHING)
    opened, action = decide(unit, WARM, ALIVE)
    assert action is Do.OPEN_GATE
    assert opened.gate_open
    assert opened.phase is Phase.STARTING


@pytest.mark.parametrize(
    ("rules", "phase"), [(PLAIN, Phase.STARTING), (JOB, Phase.STARTING), (UNCHECKED, Phase.HEALTHY)]
)
def test_what_an_open_gate_leads_to(rules: ProcessRules, phase: Phase) -> None:
    assert decide(SupervisedProcess(forked=True), rules, ALIVE)[0].phase is phase


def test_a_check_makes_it_healthy() -> None:
    unit = in_phase(Phase.STARTING, detail="no heartbeat yet")
    assert decide(unit, PLAIN, ALIVE)[0] == unit
    healthy, _ = decide(unit, PLAIN, replace(ALIVE, healthy=True))
    assert (healthy.phase, healthy.detail) == (Phase.HEALTHY, "")


def test_crashes_in_a_row_wait_longer_each_time_up_to_a_limit() -> None:
    waits = []
    unit = in_phase(Phase.HEALTHY)
    for failure in range(1, 12):
        unit, action = decide(unit, PLAIN, replace(FREE, exit_code=-9))
        assert action is Do.NOTHING
        assert (unit.phase, unit.failures, unit.detail) == (Phase.BACKOFF, failure, "ended by signal 9")
        wait = backoff(unit.failures)
        assert decide(unit, PLAIN, after(wait - 0.01, FREE))[0] == unit
        unit, _ = decide(unit, PLAIN, after(wait, FREE))
        assert (unit.phase, unit.restarts) == (Phase.WAITING, failure)
        waits.append(wait)
        unit = in_phase(Phase.HEALTHY, failures=unit.failures, restarts=unit.restarts)
    assert waits[:4] == [0.5, 1, 2, 4]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_BACKOFF_S


def test_a_minute_of_health_forgives_crashes() -> None:
    unit = in_phase(Phase.HEALTHY, failures=5, restarts=5)
    healthy = replace(ALIVE, healthy=True)
    assert decide(unit, PLAIN, after(FORGIVEN_AFTER_S - 1, healthy))[0].failures == 5
    forgiven, action = decide(unit, PLAIN, after(FORGIVEN_AFTER_S + 1, healthy))
    assert (forgiven.failures, forgiven.restarts, action) == (0, 5, Do.NOTHING)


@pytest.mark.parametrize("code", [0, 1, -15])
def test_a_service_that_ends_by_itself_is_started_again_whatever_its_code(code: int) -> None:
    unit, _ = decide(in_phase(Phase.HEALTHY), PLAIN, replace(FREE, exit_code=code))
    assert unit.phase is Phase.BACKOFF
    assert not unit.forked


@pytest.mark.parametrize(
    ("code", "gate_open", "phase"), [(0, True, Phase.DONE), (1, True, Phase.BACKOFF), (0, False, Phase.BACKOFF)]
)
def test_a_job_is_done_only_when_it_ran_and_ended_well(code: int, gate_open: bool, phase: Phase) -> None:
    unit, _ = decide(in_phase(Phase.STARTING, gate_open=gate_open), JOB, replace(FREE, exit_code=code))
    assert unit.phase is phase


def test_a_job_that_is_done_is_never_started_again() -> None:
    done = SupervisedProcess(phase=Phase.DONE)
    assert decide(done, JOB, after(10_000, FREE)) == (done, Do.NOTHING)
    assert decide(done, JOB, replace(FREE, stopping=True)) == (done, Do.NOTHING)


def test_a_hung_process_is_killed_but_not_at_its_first_slow_answer() -> None:
    bad = replace(ALIVE, healthy=False, detail="answers HTTP 500")
    unit, action = decide(in_phase(Phase.HEALTHY), PLAIN, bad)
    assert (unit.phase, unit.detail, action) == (Phase.UNHEALTHY, "answers HTTP 500", Do.NOTHING)
    assert decide(unit, PLAIN, after(HUNG_AFTER_S, bad))[1] is Do.NOTHING
    killed, action = decide(unit, PLAIN, after(HUNG_AFTER_S + 1, bad))
    assert (action, killed.detail) == (Do.KILL, "hung: answers HTTP 500")
    assert decide(killed, PLAIN, after(HUNG_AFTER_S + 2, bad))[1] is Do.NOTHING
    assert decide(unit, PLAIN, after(5, ALIVE, healthy=True))[0].phase is Phase.HEALTHY


def test_a_slow_start_has_longer_than_a_hung_process() -> None:
    bad = replace(ALIVE, healthy=False, detail="no heartbeat yet")
    unit = in_phase(Phase.STARTING)
    waiting, action = decide(unit, PLAIN, after(HUNG_AFTER_S + 1, bad))
    assert (waiting.detail, action) == ("no heartbeat yet", Do.NOTHING)
    assert decide(unit, PLAIN, after(START_TIMEOUT_S + 1, bad))[1] is Do.KILL


def test_a_process_that_airfleet_has_killed_says_why_and_another_one_names_the_signal() -> None:
    bad = replace(ALIVE, healthy=False, detail="no heartbeat yet")
    killed, _ = decide(in_phase(Phase.STARTING), PLAIN, after(START_TIMEOUT_S + 1, bad))
    dying, _ = decide(killed, PLAIN, after(START_TIMEOUT_S + 2, bad))
    gone = replace(FREE, exit_code=-9)
    left, _ = decide(dying, PLAIN, gone)
    assert (left.detail, left.killed_for) == ("killed, since it was not healthy for 180 s: no heartbeat yet", "")
    mended, _ = decide(killed, PLAIN, after(START_TIMEOUT_S + 2, ALIVE, healthy=True))
    for unit in (mended, in_phase(Phase.STARTING)):
        assert decide(unit, PLAIN, gone)[0].detail == "ended by signal 9"


def test_a_stop_asks_waits_and_then_kills() -> None:
    stopping = replace(ALIVE, stopping=True, healthy=True)
    unit, action = decide(in_phase(Phase.HEALTHY), PLAIN, stopping)
    assert (unit.phase, action) == (Phase.STOPPING, Do.STOP)
    assert decide(unit, PLAIN, after(10, stopping))[1] is Do.NOTHING
    killed, action = decide(unit, PLAIN, after(11, stopping))
    assert (action, killed.detail) == (Do.KILL, "did not stop in time; killed")
    gone, _ = decide(killed, PLAIN, replace(stopping, alive=False, exit_code=-9))
    assert (gone.phase, gone.forked) == (Phase.STOPPED, False)


def test_a_second_wish_to_stop_takes_the_patience_away() -> None:
    stopping = replace(ALIVE, stopping=True)
    unit, _ = decide(in_phase(Phase.HEALTHY), PLAIN, stopping)
    assert decide(unit, replace(PLAIN, stop_timeout_s=0), after(0.1, stopping))[1] is Do.KILL


@pytest.mark.parametrize(
    "unit",
    [
        SupervisedProcess(),
        SupervisedProcess(phase=Phase.BACKOFF, failures=3),
        in_phase(Phase.STOPPING),
        in_phase(Phase.STARTING),
    ],
    ids=["waiting", "between two starts", "stopping", "starting"],
)
def test_what_is_not_alive_is_stopped_at_once(unit: SupervisedProcess) -> None:
    stopped, action = decide(unit, PLAIN, replace(FREE, stopping=True))
    assert (stopped.phase, action) == (Phase.STOPPED, Do.NOTHING)


def test_what_waits_at_its_gate_is_told_to_stop() -> None:
    unit, action = decide(SupervisedProcess(forked=True), WARM, replace(WAITED_FOR, alive=True, stopping=True))
    assert (unit.phase, action) == (Phase.STOPPING, Do.STOP)


@pytest.mark.parametrize("rules", [PLAIN, WARM, JOB, UNCHECKED], ids=["plain", "warm", "job", "unchecked"])
@pytest.mark.parametrize("seed", range(40))
def test_interrupted_anywhere_nothing_runs_twice_and_everything_ends(rules: ProcessRules, seed: int) -> None:
    chance = random.Random(seed)
    world = World(rules, chance)
    for _ in range(chance.randrange(1, 300)):
        world.turn(stopping=False)
    for _ in range(500):
        world.turn(stopping=True)
    assert world.unit.phase in (Phase.STOPPED, Phase.DONE)
    assert not world.alive


class World:
    """One process under the rules of supervision, which crashes, hangs and ignores signals at random."""

    def __init__(self, rules: ProcessRules, chance: random.Random) -> None:
        self.unit, self.rules, self.chance = SupervisedProcess(), rules, chance
        self.alive = self.gate_open = self.stubborn = False
        self.exit_code: int | None = None
        self.now = 0.0

    def turn(self, *, stopping: bool) -> None:
        self.now += self.chance.choice((0.1, 1.0, 40.0))
        if self.alive and self.chance.random() < 0.1 and not self.stubborn:
            self.die(self.chance.choice((0, 1, -9)))
        seen = Seen(
            now=self.now,
            alive=self.alive,
            released=self.chance.random() < 0.7,
            forkable=self.chance.random() < 0.7,
            stopping=stopping,
            exit_code=self.exit_code,
            healthy=self.chance.choice((True, False, None)) if self.alive else None,
        )
        before = self.unit
        self.unit, action = decide(before, self.rules, seen)
        match action:
            case Do.START:
                assert not self.alive, "started twice"
                assert not stopping, "started while stopping"
                assert before.phase is Phase.WAITING
                self.alive, self.gate_open, self.exit_code = True, False, None
                self.stubborn = self.chance.random() < 0.3
            case Do.OPEN_GATE:
                assert self.alive, "nobody waits at this gate"
                assert not self.gate_open, "a gate opens once"
                assert seen.released
                self.gate_open = True
            case Do.STOP if not self.stubborn:
                self.die(-15)
            case Do.KILL:
                self.die(-9)
        assert self.unit.forked is (self.alive or self.unit.forked)
        assert self.unit.forked or not self.alive, "a living process was lost"

    def die(self, code: int) -> None:
        self.alive, self.exit_code = False, code


@pytest.mark.parametrize(("code", "words"), [(None, "vanished"), (-9, "ended by signal 9"), (3, "exited with code 3")])
def test_an_exit_in_words(code: int | None, words: str) -> None:
    assert describe_exit(code) == words
