"""The task instances of a drill's load, computed before it runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest

from airfleet.drills.catalogue import CATALOGUE, Drill
from airfleet.drills.load import MINIMUM_RATE, SETTINGS, Load, render_project

BEGAN = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
LOAD = Load(BEGAN, 120, "/var/lib/airfleet/drill")


def test_runs_begin_evenly_and_every_instance_is_its_own() -> None:
    dates = sorted(date for dag in range(LOAD.dags) for date in LOAD.starts_of(dag))
    gaps = [(after - before).total_seconds() for before, after in pairwise(dates)]
    assert max(gaps) == pytest.approx(LOAD.every_s / LOAD.dags, abs=1e-5)
    assert dates[0] == BEGAN
    assert dates[-1] < LOAD.ends
    assert len(set(LOAD.expected())) == len(LOAD.expected()) == round(LOAD.rate * LOAD.length_s)


@pytest.mark.parametrize("drill", CATALOGUE.values(), ids=lambda drill: drill.name)
def test_every_drill_runs_under_the_load_that_it_must(drill: Drill) -> None:
    load = Load(BEGAN, drill.length_s, "/ledger")
    assert len(load.expected()) / drill.length_s >= MINIMUM_RATE


def test_an_instance_is_named_by_its_date_in_utc() -> None:
    east = Load(BEGAN.astimezone(timezone(timedelta(hours=2))), 120, "/ledger")
    assert east.expected() == LOAD.expected()
    assert LOAD.expected()[0].run == "2026-01-01T12:00:00.250000+00:00"


def test_the_project_carries_its_settings_and_is_python() -> None:
    files = render_project(LOAD)
    settings: dict[str, Any] = {}
    exec(files[SETTINGS], settings)  # noqa: S102
    assert settings["LOAD"]["began"] == "2026-01-01T12:00:00.250000+00:00"
    for name, text in files.items():
        compile(text, name, "exec")
