"""A session of `airfleet machines` with a driver in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from airfleet.operations.machines.session import MachineSession
from machine_cloud import Cloud, parse


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def start(tmp_path: Path, cloud: Cloud) -> Callable[[str], MachineSession]:
    def build(text: str) -> MachineSession:
        fleet = parse(text)
        assert fleet.machines is not None
        ticks = iter(range(0, 10_000, 100))
        return MachineSession(
            fleet, fleet.machines, tmp_path, cloud, lambda: float(next(ticks)), lambda _: None, lambda _: None
        )

    return build
