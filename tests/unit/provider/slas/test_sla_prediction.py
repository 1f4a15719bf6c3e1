"""What is learned of finished runs, and what it says about a run that is not finished."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from airfleet_provider.slas.prediction import (
    Measure,
    Profile,
    TaskProfile,
    TaskSpan,
    find_quantile,
    measure,
    predict_end,
    predict_task_end,
    summarise,
)

START = datetime(2026, 3, 2, 5, tzinfo=UTC)
# `slow` and `quick` run side by side; `join` waits for both.
BELOW = {"extract": ["slow", "quick"], "slow": ["join"], "quick": ["join"], "join": []}


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def ran(**spans: tuple[float, float]) -> Mapping[str, TaskSpan]:
    return {name: TaskSpan(at(start), at(end), True) for name, (start, end) in spans.items()}


NORMAL = ran(extract=(0, 10), slow=(11, 41), quick=(11, 13), join=(42, 47))


def test_a_task_is_measured_with_the_longest_chain_after_it() -> None:
    measured = measure(NORMAL, BELOW, START)
    # After `extract`: 1 minute of waiting, 30 of `slow`, 1 of waiting, 5 of `join`.
    assert measured["extract"] == Measure(600, 37 * 60, 600)
    assert measured["join"] == Measure(300, 0, 47 * 60)
    # `join` waited for `slow`, and `quick` does not pay for that.
    assert measured["quick"].rest_s == 6 * 60


def test_a_task_that_never_ran_has_no_measure() -> None:
    spans = {**NORMAL, "quick": TaskSpan(None, None, True)}
    measured = measure(spans, BELOW, START)
    assert "quick" not in measured
    assert measured["extract"].rest_s == 37 * 60


def learn(*runs: Mapping[str, TaskSpan]) -> Profile:
    measures: dict[str, list[Measure]] = {}
    for run in runs:
        for name, one in measure(run, BELOW, START).items():
            measures.setdefault(name, []).append(one)
    profile = summarise([47 * 60.0] * len(runs), measures)
    assert profile is not None
    return profile


def test_nothing_is_said_after_two_runs() -> None:
    assert summarise([1, 2], {}) is None


def test_a_run_ends_when_its_remaining_critical_path_does() -> None:
    profile = learn(NORMAL, NORMAL, NORMAL)
    spans = {
        "extract": TaskSpan(at(0), at(10), True),
        "slow": TaskSpan(at(11), None, False),
        "quick": TaskSpan(at(11), at(13), True),
        "join": TaskSpan(None, None, False),
    }
    found = predict_end(spans, profile, now=at(21))
    assert (found.ends_at, found.task_id) == (at(47), "slow")
    # A task that takes longer than ever before may end at any moment; the rest still takes its time.
    assert predict_end(spans, profile, now=at(60)).ends_at == at(66)


def test_slack_of_a_side_branch_is_not_lateness() -> None:
    profile = learn(NORMAL, NORMAL, NORMAL)
    spans = {
        "extract": TaskSpan(at(0), at(10), True),
        "slow": TaskSpan(at(11), None, False),
        "quick": TaskSpan(at(38), None, False),
        "join": TaskSpan(None, None, False),
    }
    found = predict_end(spans, profile, now=at(38))
    assert found.ends_at <= at(47)


def test_a_run_that_has_not_begun_takes_what_runs_take() -> None:
    profile = learn(NORMAL, NORMAL, NORMAL)
    assert predict_end({}, profile, now=at(0)).ends_at == at(47)
    assert predict_end({"extract": TaskSpan(None, None, False)}, profile, now=at(5)).ends_at == at(5 + 47)


def test_one_task_of_a_run() -> None:
    profile = learn(NORMAL, NORMAL, NORMAL)
    waiting = predict_task_end("slow", None, profile, run_started_at=at(0), now=at(5))
    running = predict_task_end("slow", TaskSpan(at(20), None, False), profile, run_started_at=at(0), now=at(30))
    assert waiting and waiting.ends_at == at(41)
    assert running and running.ends_at == at(50)
    assert predict_task_end("unknown", None, profile, run_started_at=None, now=at(0)) is None


@pytest.mark.parametrize(("values", "found"), [([5], 5), (list(range(1, 101)), 95), ([3, 1, 2], 3)])
def test_the_quantile(values: list[float], found: float) -> None:
    assert find_quantile(values) == found


def test_a_new_task_says_nothing_yet() -> None:
    profile = Profile(60, 3, {"old": TaskProfile(60, 0, 60)})
    assert predict_end({"new": TaskSpan(at(0), None, False)}, profile, now=at(1)).ends_at == at(1)
