"""The scheduler in an outage of its database: it goes on soon after a short one, and is no burden in a long one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError

from airfleet_provider.compat.calls.db_errors import FIRST_RETRY_S, RETRY_S
from airfleet_provider.compat.patches import outages
from airfleet_provider.liveness.heartbeat_history import Heartbeat
from clocks import MadeUpClock

AWAY = OperationalError("SELECT 1", {}, Exception("connection refused"))


class Server:
    """A database that is away at certain times, and a scheduler's loop that needs it. Each loop takes `loop_s`."""

    def __init__(self, clock: MadeUpClock, *spans: tuple[float, float], loop_s: float = 0.0) -> None:
        self._clock, self._spans, self._loop_s = clock, spans, loop_s
        self.asked: list[float] = []
        self.loops: list[float] = []

    def is_away(self) -> bool:
        return any(since <= self._clock.now < until for since, until in self._spans)

    def answers(self) -> bool:
        self.asked.append(self._clock.now)
        return not self.is_away()

    def loop(self, runner: object) -> None:
        self.loops.append(self._clock.now)
        self._clock.now += self._loop_s
        if self.is_away():
            raise AWAY


class NoTask:
    """A rule by which no task is dead."""

    def judge(self, beats: Mapping[object, Heartbeat]) -> Mapping[float, Collection[object]]:
        return {}


def run(loop: object, server: Server, clock: MadeUpClock) -> None:
    outlasting, _ = outages.SCHEDULER.make(loop, lambda _: None, NoTask(), server.answers, clock, clock.sleep)
    outlasting(None)


def test_a_scheduler_goes_on_soon_after_a_switch_over() -> None:
    clock = MadeUpClock(100.0)
    server = Server(clock, (100.0, 102.0))
    run(server.loop, server, clock)
    assert server.loops[-1] - 102.0 < 0.3
    assert len(server.loops) == 2, "no loop begins before the database answers"
    assert min(after - before for before, after in zip(server.asked, server.asked[1:], strict=False)) > 0.09


def test_a_long_outage_is_asked_about_once_a_second() -> None:
    clock = MadeUpClock(100.0)
    server = Server(clock, (100.0, 700.0))
    run(server.loop, server, clock)
    assert server.asked[-1] - server.asked[-2] == pytest.approx(RETRY_S)
    assert len(server.asked) < 700


def test_a_loop_that_fails_although_the_database_answers_is_no_busy_loop() -> None:
    clock = MadeUpClock(100.0)
    server = Server(clock, (100.0, 160.0))
    server.answers = lambda: True  # type: ignore[method-assign]
    run(server.loop, server, clock)
    assert server.loops[1] - server.loops[0] == pytest.approx(FIRST_RETRY_S)
    assert server.loops[-1] - server.loops[-2] == pytest.approx(RETRY_S)


def test_the_next_outage_begins_with_short_pauses_again() -> None:
    clock = MadeUpClock(100.0)
    server = Server(clock, (90.0, 130.0), (145.0, 147.0), loop_s=20.0)
    run(server.loop, server, clock)
    assert server.loops[-1] - 147.0 < 0.3


def test_an_error_of_the_statement_is_no_outage() -> None:
    def fail(_: object) -> None:
        raise ProgrammingError("SELECT 1", {}, Exception("no such column"))

    clock = MadeUpClock(0.0)
    with pytest.raises(ProgrammingError):
        run(fail, Server(clock), clock)
