"""The process that archives by itself: when, what, and what it does about failures."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from airfleet_provider.run_archive import keeper

NOW = datetime(2026, 11, 26, 15, 30, tzinfo=UTC)  # a Thursday
PLAN = keeper.Plan(timedelta(hours=6), timedelta(days=90), ("--store", "/a"))
# Seconds after which a test knows that something hangs.
HANGS_S = 300.0


class EndError(Exception):
    """The test has seen enough."""


class Clock:
    """Time goes by only in `sleep`, which ends the test after a while."""

    def __init__(self, last: datetime | None = None) -> None:
        self.now, self.end, self.last = NOW, NOW + timedelta(hours=12), last
        self.archived: list[datetime] = []
        self.code = 0

    def read_last(self) -> datetime | None:
        return self.last

    def archive(self, words: Sequence[str]) -> int:
        assert tuple(words[:3]) == (*PLAN.words, "--by-timetable")
        self.archived.append(self.now)
        if not self.code:
            self.last = self.now
        return self.code

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        if self.now > self.end:
            raise EndError

    def run(self) -> list[float]:
        """Return after how many hours each archive began."""
        with pytest.raises(EndError):
            keeper.keep(PLAN, read_last=self.read_last, archive=self.archive, now=lambda: self.now, sleep=self.sleep)
        return [(one - NOW) / timedelta(hours=1) for one in self.archived]


def test_it_archives_every_so_many_hours_from_the_last_archive_on() -> None:
    assert Clock(NOW - timedelta(hours=2)).run() == [4, 10]


def test_a_platform_that_never_archived_begins_at_once() -> None:
    assert Clock().run() == [0, 6, 12]


def test_a_clock_that_was_wrong_once_puts_no_archive_off_for_years() -> None:
    assert Clock(NOW + timedelta(days=400)).run() == [0, 6, 12]
    assert Clock(NOW + timedelta(hours=1)).run() == [7], "clocks of two hosts may differ a little"


def test_an_archive_that_fails_is_tried_again_soon() -> None:
    clock = Clock()
    clock.code = 1
    clock.end = NOW + timedelta(minutes=25)
    assert clock.run() == pytest.approx([0, 1 / 6, 1 / 3])


def test_a_database_that_is_away_is_asked_again() -> None:
    clock = Clock()
    answers = iter([OSError("away"), OSError("away")])

    def read() -> datetime | None:
        for error in answers:
            raise error
        return clock.last

    clock.read_last = read  # type: ignore[method-assign]
    clock.end = NOW + timedelta(hours=1)
    assert clock.run() == pytest.approx([1 / 3])


def test_runs_go_by_weeks_and_never_before_their_time() -> None:
    cuts = {keeper.find_cut(PLAN, NOW + timedelta(hours=hours)) for hours in range(24 * 28)}
    assert len(cuts) == 5, "four weeks and the rest of one"
    assert all((cut.weekday(), cut.hour, cut.minute) == (0, 0, 0) for cut in cuts)
    cut = keeper.find_cut(PLAN, NOW)
    assert timedelta(days=90) <= NOW - cut < timedelta(days=97)


def test_a_signal_ends_the_archive_at_work_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "END_S", HANGS_S)

    def stop(number: int, frame: object) -> None:
        raise EndError

    former = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    begun = time.monotonic()
    try:
        with pytest.raises(EndError):
            keeper.run_to_end(["sleep", "600"])
    finally:
        signal.signal(signal.SIGALRM, former)
    assert time.monotonic() - begun < HANGS_S / 2, "the child has ended, and nobody waited for a time-out"
