"""The scheduler's pauses in an outage of its database: short at first, and never a busy loop."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError

from airfleet_provider.compat.calls.db_errors import FIRST_RETRY_S, RECOVERED_S, RETRY_S, choose_pause
from airfleet_provider.compat.patches import outages
from airfleet_provider.liveness.heartbeat_history import Heartbeat
from clocks import MadeUpClock

AWAY = OperationalError("SELECT 1", {}, Exception("connection refused"))


class Loop:
    """A scheduler's loop that fails at certain times, and otherwise ends."""

    def __init__(self, clock: MadeUpClock, *, away_until: float) -> None:
        self._clock, self._away_until = clock, away_until
        self.began: list[float] = []

    def __call__(self, runner: object) -> None:
        self.began.append(self._clock.now)
        if self._clock.now < self._away_until:
            raise AWAY


class NoTask:
    """A rule by which no task is dead."""

    def judge(self, beats: Mapping[object, Heartbeat]) -> Mapping[float, Collection[object]]:
        return {}


def run(loop: object, clock: MadeUpClock) -> None:
    outlasting, _ = outages.SCHEDULER.make(loop, lambda _: None, NoTask(), clock, clock.sleep)
    outlasting(None)


def test_a_scheduler_goes_on_soon_after_an_outage_of_seconds() -> None:
    clock = MadeUpClock(100.0)
    loop = Loop(clock, away_until=100.5)
    run(loop, clock)
    assert loop.began[-1] - 100.5 < 0.5
    assert loop.began[1] - loop.began[0] == pytest.approx(FIRST_RETRY_S), "it is no busy loop"


def test_a_long_outage_is_asked_about_once_a_second() -> None:
    clock = MadeUpClock(100.0)
    loop = Loop(clock, away_until=700.0)
    run(loop, clock)
    assert loop.began[-1] - loop.began[-2] == pytest.approx(RETRY_S)
    assert len(loop.began) < 700


def test_an_error_of_the_statement_is_no_outage() -> None:
    def fail(_: object) -> None:
        raise ProgrammingError("SELECT 1", {}, Exception("no such column"))

    with pytest.raises(ProgrammingError):
        run(fail, MadeUpClock(0.0))


def test_the_next_outage_begins_with_short_pauses_again() -> None:
    assert choose_pause(RETRY_S, worked_s=RECOVERED_S + 1) == FIRST_RETRY_S
    assert choose_pause(RETRY_S, worked_s=0.1) == RETRY_S
