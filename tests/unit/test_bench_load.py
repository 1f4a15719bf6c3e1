"""The pure parts of the bench of the reference load: the day, and the search for the greatest factor that holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import load
from load import LoadResults, Shape, climb, list_runs, plan_step
from stock.workloads import LOAD

FULL = Shape(0, 120, 8, 10, 0)
EVEN = Shape(60, 120, 8, 10, 0)


def test_a_day_has_fifty_thousand_tasks_and_five_hundred_dags() -> None:
    runs = [dag for hour in range(24) for dag in list_runs(hour)]
    assert len(runs) * 10 == 50_000
    assert len(list_runs(0)) == max(len(list_runs(hour)) for hour in range(24)), "midnight is the fullest hour"
    assert set(runs) < set(LOAD.dags)


def test_crons_of_the_full_hour_are_due_at_once_and_others_over_the_compressed_hour() -> None:
    assert {at for at, _ in plan_step(FULL, 20)} == {0}
    assert len(plan_step(FULL, 20)) == 260
    even = plan_step(EVEN, 60)
    assert len(even) == 260
    assert even[-1][0] < 60 <= even[-1][0] + 60 / 260 + 0.001
    assert len(plan_step(EVEN, 3)) == pytest.approx(26, abs=1), "a tenth of an hour of twenty minutes"


@pytest.mark.parametrize("most", [0.4, 1.0, 7.0, 33.0])
def test_the_climb_ends_close_below_the_greatest_factor_that_holds(most: float) -> None:
    def run(factor: float) -> dict[str, Any]:
        return {"held": factor <= most, "factor": factor}

    steps = climb(4.0, 30, run)
    best = max(one["factor"] for one in steps if one["held"])
    assert best <= most <= best * load.CLOSE_ENOUGH


def test_the_climb_gives_up_where_nothing_holds() -> None:
    steps = climb(4.0, 30, lambda _: {"held": False})
    assert len(steps) == 5


def test_the_climb_begins_no_step_when_its_time_is_over() -> None:
    left = [False, False, True]
    assert len(climb(4.0, 30, lambda _: {"held": True}, lambda: left.pop(0))) == 2


def test_the_headline_is_that_of_crons_that_come_evenly_whichever_climb_ran_last(tmp_path: Path) -> None:
    def make(spread: float, factor: float, *, held: bool) -> dict[str, Any]:
        figures = {"p99_s": 1.0, "utilisation": 0.7}
        return {"spread_min": spread, "times_real_time": factor, "held": held, **figures}

    results = LoadResults(tmp_path / "load.json", {}, fresh=True)
    for step in (make(60, 8, held=True), make(60, 16, held=True), make(60, 32, held=False), make(0, 1, held=False)):
        results.add(step)
    found = json.loads((tmp_path / "load.json").read_text())
    assert (found["times_real_time"], found["spread_min"]) == (16, 60)
    assert {spread: one["times_real_time"] for spread, one in found["climbs"].items()} == {"0 min": 0, "60 min": 16}
    assert [found["finished"], found["climbs"]["0 min"]["finished"]] == [False, False], "both have steps left"
    for step in (make(60, 22.63, held=True), make(60, 26.91, held=True), make(0, 0.25, held=False)):
        results.add(step)
    found = json.loads((tmp_path / "load.json").read_text())
    assert [found["finished"], found["climbs"]["0 min"]["finished"]] == [True, True]
