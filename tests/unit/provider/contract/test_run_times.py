"""How long the next run of a task will take, and whether the stated error is the true one."""

from __future__ import annotations

import random

from airfleet_provider.contract.run_times import LEAST_RUNS, predict


def test_too_few_runs_are_not_enough() -> None:
    assert predict([1.0] * (LEAST_RUNS - 1)) is None
    first = predict([1.0] * LEAST_RUNS)
    assert first
    assert (first.judged, first.held, first.error_s) == (0, None, None)


def test_the_stated_share_is_near_what_was_promised_for_runs_like_those_before() -> None:
    chance = random.Random(7)
    found = predict([chance.lognormvariate(3, 0.5) for _ in range(2000)])
    assert found
    assert found.held
    assert 0.86 < found.held < 0.97


def test_a_task_that_became_slower_is_followed_within_the_window_and_the_miss_is_told() -> None:
    found = predict([10.0] * 40 + [100.0] * 20)
    assert found
    assert found.p50_s == 100.0
    assert found.held
    assert found.held < 1.0


def test_runs_that_alternate_are_better_predicted_by_the_median_than_by_the_last_one() -> None:
    found = predict([10.0, 10.0, 30.0] * 20)
    assert found
    assert (found.error_s, found.naive_error_s) == (0.0, 20.0)


def test_a_time_out_would_have_ended_no_run_and_is_whole_minutes() -> None:
    found = predict([5.0] * 99 + [400.0])
    assert found
    assert found.timeout_s == 600
    quick = predict([0.1] * 100)
    assert quick
    assert quick.timeout_s == 60
