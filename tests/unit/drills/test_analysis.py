"""Lost, doubled and killed attempts and gaps, read from invented ledgers."""

from __future__ import annotations

import pytest

from airfleet.drills.analysis import Gap, Window, analyse, find_gap
from airfleet.drills.attempt_log import Attempt
from invented_ledgers import attempt, instance

WINDOW = Window(began=0.0, struck=10.0, recovered=None, ended=100.0)


def test_a_calm_ledger_shows_nothing() -> None:
    attempts = [attempt(f"r{n}", float(n)) for n in range(100)]
    found = analyse(attempts, [one.instance for one in attempts], WINDOW)
    assert (found.lost, found.doubled, found.killed, found.repeated) == ((), (), (), ())
    assert (found.usual_gap.seconds, found.longest_gap.seconds) == (1.0, 1.0)
    assert (found.first_start_s, found.rerun_s, found.rate) == (0.0, None, 1.0)


def test_lost_is_what_never_ended_well_however_often_it_was_tried() -> None:
    attempts = [
        attempt("tried", 1, how=None),
        attempt("tried", 5, how="SystemExit", number=2),
        attempt("saved", 1, how=None),
        attempt("saved", 5, number=2),
        attempt("unforeseen", 7, how=None),
    ]
    found = analyse(attempts, [instance("tried"), instance("saved"), instance("never")], WINDOW)
    assert found.lost == (instance("never"), instance("tried"), instance("unforeseen"))


def test_killed_is_every_attempt_that_its_own_code_did_not_end() -> None:
    attempts = [attempt("a", 1, how=None), attempt("b", 1, how="KeyboardInterrupt"), attempt("c", 1)]
    assert [one.instance.run for one in analyse(attempts, [], WINDOW).killed] == ["a", "b"]


@pytest.mark.parametrize(
    ("first", "second", "unsure_s", "doubled"),
    [
        (attempt("a", 0, 5), attempt("a", 4, 5, host="w2"), 0.0, True),
        (attempt("a", 0, 5), attempt("a", 5, 5, host="w2"), 0.0, False),
        (attempt("a", 0, 5, how=None), attempt("a", 4, 1, host="w2"), 0.0, True),
        (attempt("a", 0, 9), attempt("a", 2, 1, host="w2"), 0.0, True),
        (attempt("a", 0, 5), attempt("a", 4.8, 5, host="w2"), 0.3, False),
        (attempt("a", 0, 5), attempt("a", 4.6, 5, host="w2"), 0.3, True),
        (attempt("a", 0, 5), attempt("a", 4.8, 5), 0.3, True),
        (attempt("a", 0, 5), attempt("b", 0, 5), 0.0, False),
    ],
    ids=[
        "side by side on two hosts",
        "one after the other",
        "the first died during the second",
        "the second within the first",
        "as near as the clocks are unsure",
        "nearer than the clocks are unsure",
        "on one host there is one clock",
        "two instances",
    ],
)
def test_doubled_is_two_attempts_alive_at_once(first: Attempt, second: Attempt, unsure_s: float, doubled: bool) -> None:
    found = analyse([second, first], [], WINDOW, unsure_s=unsure_s)
    assert [(one.first, one.second) for one in found.doubled] == ([(first, second)] if doubled else [])


def test_three_at_once_are_three_pairs() -> None:
    attempts = [attempt("a", 0, 9), attempt("a", 1, 9, host="w2"), attempt("a", 2, 9, host="w3")]
    assert len(analyse(attempts, [], WINDOW).doubled) == 3


def test_a_frozen_attempt_that_goes_on_overlaps_the_one_that_replaced_it() -> None:
    frozen = attempt("a", 0, 60)
    replaced = attempt("a", 20, 5, host="w2", number=2)
    later = attempt("a", 40, 1, host="w3", number=3)
    pairs = analyse([frozen, replaced, later], [], WINDOW).doubled
    assert [(one.first.host, one.second.host) for one in pairs] == [("w1", "w2"), ("w1", "w3")]


def test_repeated_is_done_again_after_it_was_done() -> None:
    again = [attempt("a", 0, 1), attempt("a", 5, 1, number=2), attempt("b", 0, how=None), attempt("b", 5, number=2)]
    found = analyse(again, [], WINDOW)
    assert [(one.first.number, one.second.number) for one in found.repeated] == [(1, 2)]
    assert found.doubled == ()


@pytest.mark.parametrize(
    ("starts", "began", "ended", "gap"),
    [
        ([], 0, 10, Gap(0, 10)),
        ([0, 1, 2, 8, 9], 0, 10, Gap(2, 6)),
        ([3, 4], 0, 5, Gap(0, 3)),
        ([1, 2], 0, 10, Gap(2, 8)),
        ([9, 15, 16], 10, 16, Gap(9, 6)),
        ([9, 10, 30], 10, 12, Gap(10, 2)),
    ],
    ids=[
        "nothing ever starts",
        "in the middle",
        "until the first",
        "after the last",
        "a gap that began before the fault counts from its start",
        "what starts after the span does not end a gap",
    ],
)
def test_the_longest_gap(starts: list[float], began: float, ended: float, gap: Gap) -> None:
    assert find_gap(starts, began, ended) == gap


def test_the_gap_of_a_blow_is_told_from_the_gaps_before_it() -> None:
    starts = [0, 1, 2, 5, 6, 7, 8, 9, 16, *range(17, 100)]
    found = analyse([attempt(f"r{at}", float(at)) for at in starts], [], WINDOW)
    assert (found.usual_gap, found.longest_gap) == (Gap(2, 3), Gap(9, 7))


def test_the_first_start_counts_from_recovery_where_something_was_given_back() -> None:
    attempts = [attempt("a", 12.0), attempt("b", 44.5)]
    assert analyse(attempts, [], WINDOW).first_start_s == 2.0
    outage = Window(began=0.0, struck=10.0, recovered=40.0, ended=100.0)
    assert analyse(attempts, [], outage).first_start_s == 4.5
    assert analyse(attempts[:1], [], outage).first_start_s is None
    late = [*attempts[:1], attempt("c", 130.0)]
    assert analyse(late, [], outage).first_start_s == 90.0, "after the load's end is late, and not never"


def test_running_again_counts_to_the_last_of_what_the_blow_interrupted() -> None:
    attempts = [
        attempt("a", 8, 2, how=None),
        attempt("a", 35, number=2, host="w2"),
        attempt("b", 9, 1, how=None),
        attempt("b", 31, number=2, host="w2"),
        attempt("lived", 9, 5, host="w2"),
    ]
    assert analyse(attempts, [], WINDOW).rerun_s == 25.0


def test_what_died_and_ran_again_before_the_blow_or_died_after_it_is_not_its_doing() -> None:
    before = [attempt("a", 1, how=None), attempt("a", 3, how=None, number=2), attempt("a", 12, number=3)]
    assert analyse(before, [], WINDOW).rerun_s == 2.0
    after = [attempt("a", 20, how=None), attempt("a", 50, number=2)]
    assert analyse(after, [], WINDOW).rerun_s is None


def test_an_interrupted_task_that_never_runs_again_has_no_time() -> None:
    attempts = [attempt("a", 9, how=None), attempt("b", 9, how=None), attempt("b", 15, number=2)]
    found = analyse(attempts, [], WINDOW)
    assert found.rerun_s is None
    assert found.lost == (instance("a"),)


def test_the_rate_is_what_was_asked_for_not_what_was_done() -> None:
    assert analyse([], [instance(f"r{n}") for n in range(150)], WINDOW).rate == 1.5
