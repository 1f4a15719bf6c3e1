"""Every figure in the tables of README is that of the results, rounded as README rounds it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"
FIGURE = re.compile(r"[\d,]+(?:\.(\d+))?")
# What a row shows in its three columns of figures; None where it shows no figure.
Shown = tuple[float | None, float | None, float | None]


def read(name: str) -> Any:  # noqa: ANN401 - what a benchmark wrote
    return json.loads((RESULTS / f"{name}.json").read_text())


def beside(name: str, own: str, stock: str, ratio: str) -> Callable[[], Shown]:
    """Return what reads two figures and their ratio in a file of results; an empty key is for what is not shown."""

    def find() -> Shown:
        found = read(name)
        return found[own], found[stock] if stock else None, found.get("ratios", found)[ratio] if ratio else None

    return find


def of_stock(workload: str, *path: str, more: bool = False) -> Callable[[], Shown]:
    """Return what reads the medians of a workload, with Celery and without old rows, and divides them."""

    def find() -> Shown:
        values = []
        for system in ("airfleet", "stock"):
            about = {"system": system, "executor": "celery", "history": 0, "workload": workload}
            [value] = [one for one in read("stock")["medians"] if about.items() <= one.items()]
            for key in path:
                value = value[key]
            values.append(float(value))
        own, stock = values
        return own, stock, own / stock if more else stock / own

    return find


def of_drill(name: str) -> Callable[[], Shown]:
    """Return what reads a drill with airfleet and with Airflow's own settings."""

    def find() -> Shown:
        found = read("drills")
        own, stock = (next(one["got_s"] for one in found[side] if one["name"] == name) for side in ("drills", "stock"))
        return own, stock, stock / own

    return find


ROWS: dict[str, Callable[[], Shown]] = {
    "a chain of 40 empty tasks, with Celery": of_stock("seq40", "wall_s"),
    "200 tasks at once, with Celery": of_stock("wide", "tasks_per_s", more=True),
    "500 Dag files: command to all Dags in the database": beside(
        "releases", "first_load_s", "stock_first_load_s", "first_load_s"
    ),
    "500 Dag files, when nothing changes": beside("releases", "steady_cores", "stock_steady_cores", "steady_cores"),
    "a worker host of a fleet loses its power: its tasks run again after": of_drill("plug-pulled"),
    "roll all Dags back to the release before": beside("releases", "rollback_s", "", ""),
    "first start to healthy, empty state": beside("up", "first_s", "standalone_first_s", "first"),
    "second start to healthy": beside("up", "second_s", "standalone_second_s", "second"),
    "idle, cores": beside("up", "idle_cores", "standalone_idle_cores", "idle_cores"),
    "idle, proportional memory": beside("up", "idle_pss_mib", "standalone_idle_pss_mib", "idle_pss"),
    "ten chains of ten: from queued to running, 95th percentile": of_stock(
        "chain", "phases_s", "queued_running", "p95"
    ),
    "one task, 200 mapped over its result, one that takes all of theirs": of_stock("fan", "wall_s"),
    "the flights example, a year of data": of_stock("real", "wall_s"),
    "CPU of all processes, a task of 200 at once": of_stock("wide", "cpu_s_per_task", "all"),
    "peak memory, 200 at once": of_stock("wide", "peak_pss_mib"),
    "a chain of 40 empty tasks, on the fleet": beside("fleet", "seq40_s", "stock_seq40_s", "seq40_ratio"),
    "200 tasks at once, on the fleet": beside("fleet", "wide_rate", "stock_wide_rate", "wide_ratio"),
    "ten chains of ten, on the fleet: from queued to running, 95th percentile": beside(
        "fleet", "chain_start_p95_s", "stock_chain_start_p95_s", "chain_start_p95_ratio"
    ),
}


def list_rows() -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of README's tables of three columns of figures, with their cells."""
    for line in (ROOT / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and FIGURE.match(cells[1]):
            yield cells[0], cells[1:]


@pytest.mark.parametrize(("name", "cells"), list(list_rows()))
def test_a_row_shows_what_was_measured(name: str, cells: list[str]) -> None:
    for cell, value in zip(cells, ROWS[name](), strict=True):
        shown = FIGURE.match(cell)
        if shown is None:
            assert value is None, (name, cell, value)
            continue
        digits = len(shown[1] or "")
        assert value is not None, (name, cell)
        # What lies in the middle may be rounded either way.
        assert abs(float(shown[0].replace(",", "")) - value) <= 0.5001 * 10**-digits, (name, cell, value)


def test_each_row_that_is_known_is_in_readme() -> None:
    assert {name for name, _ in list_rows()} == set(ROWS)
