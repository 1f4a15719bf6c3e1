"""Two platforms with hourly Dags, between which Dags are moved."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cutover_world import CutoverWorld


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CutoverWorld:
    # Nothing cuts the power here.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    made = CutoverWorld(tmp_path)
    made.add("sales")
    made.tick(times=5)
    return made


@pytest.fixture
def tied(world: CutoverWorld) -> CutoverWorld:
    """Runs of `sales` write the dataset from which those of `report` are made."""
    world.add("report")
    for side in (world.old, world.new):
        side.partners = {"sales": frozenset({"report"}), "report": frozenset({"sales"})}
        side.needs = {"sales": frozenset({"report"})}
    return world
