"""A scheduler that examines only changed Dag runs takes tasks through the same states as one that examines all runs."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_programs import SCHEDULER, run

pytestmark = pytest.mark.local

# Every loop of both examines all runs: stock Airflow takes the 20 that waited longest.
SETTINGS = {**SCHEDULER, "AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": "100"}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return {
        mode: run("scheduling_twins", tmp_path_factory.mktemp(mode), mode, settings=SETTINGS)
        for mode in ("stock", "own", "short")
    }


def test_the_installed_scheduler_is_the_one_that_is_known(twins: dict[str, dict[str, Any]]) -> None:
    assert twins["own"]["obstacles"] == [None, None, None], twins["own"]["digests"]


def test_every_run_comes_to_its_end(twins: dict[str, dict[str, Any]]) -> None:
    last = twins["stock"]["seen"][-1]
    runs = {name: state for name, state in last.items() if "." not in name}
    assert set(runs.values()) == {"success", "failed"}, runs


@pytest.mark.parametrize("mode", ["own", "short"])
def test_states_are_the_same_after_every_loop(twins: dict[str, dict[str, Any]], mode: str) -> None:
    differ = [
        f"loop {number}: {name} is {own.get(name)} and not {state}"
        for number, (stock, own) in enumerate(zip(twins["stock"]["seen"], twins[mode]["seen"], strict=True))
        for name, state in stock.items()
        if own.get(name) != state
    ]
    assert not differ, "\n".join(differ[:20])


def test_it_takes_fewer_statements(twins: dict[str, dict[str, Any]]) -> None:
    assert twins["own"]["statements"] < twins["stock"]["statements"] / 2


def test_the_short_path_settles_what_is_plain_and_meets_no_error(twins: dict[str, dict[str, Any]]) -> None:
    assert twins["short"]["settled"] > 40
    assert twins["short"]["sent"] > 20
    assert twins["short"]["errors"] == []
