"""A scheduler that examines only changed Dag runs takes tasks through the same states as one that examines all runs."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_programs import SCHEDULER, run

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return {
        mode: run("scheduling_twins", tmp_path_factory.mktemp(mode), mode, settings=SCHEDULER)
        for mode in ("stock", "own")
    }


def test_the_installed_scheduler_is_the_one_that_is_known(twins: dict[str, dict[str, Any]]) -> None:
    assert twins["own"]["obstacles"] == [None, None], twins["own"]["digest"]


def test_every_run_comes_to_its_end(twins: dict[str, dict[str, Any]]) -> None:
    last = twins["stock"]["seen"][-1]
    runs = {name: state for name, state in last.items() if "." not in name}
    assert set(runs.values()) == {"success", "failed"}, runs


def test_states_are_the_same_after_every_loop(twins: dict[str, dict[str, Any]]) -> None:
    differ = [
        f"loop {number}: {name} is {own.get(name)} and not {state}"
        for number, (stock, own) in enumerate(zip(twins["stock"]["seen"], twins["own"]["seen"], strict=True))
        for name, state in stock.items()
        if own.get(name) != state
    ]
    assert not differ, "\n".join(differ[:20])


def test_it_takes_fewer_statements(twins: dict[str, dict[str, Any]]) -> None:
    assert twins["own"]["statements"] < twins["stock"]["statements"] / 2
