"""When the memory of a host is too short for more tasks, as the kernel's own files tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from airfleet_provider.executors.memory_pressure import MemoryPressure, is_short, measure

PRESSURE = "some avg10=34.50 avg60=11.00 avg300=2.10 total=99\nfull avg10=20.00 avg60=6.00 avg300=1.00 total=60\n"
MEMORY = "MemTotal:       10000 kB\nMemFree:          100 kB\nMemAvailable:     500 kB\nHugePages_Total:       0\n"


def test_it_is_read_from_the_kernel_s_files(tmp_path: Path) -> None:
    (tmp_path / "pressure").write_text(PRESSURE)
    (tmp_path / "memory").write_text(MEMORY)
    assert measure(tmp_path / "pressure", tmp_path / "memory") == MemoryPressure(34.5, 0.05)


def test_where_the_kernel_does_not_tell_it_is_not_short(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text(MEMORY)
    assert measure(tmp_path / "pressure", tmp_path / "memory") is None
    assert not is_short(None, was_short=True)


@pytest.mark.parametrize(
    ("pressure", "available", "was_short", "short"),
    [
        (34.5, 0.05, False, True),
        (34.5, 0.60, False, False),  # a task that its own `memory_high` slows down
        (10.0, 0.05, False, False),
        (10.0, 0.05, True, True),
        (4.0, 0.05, True, False),
        (34.5, 0.25, True, False),
    ],
)
def test_it_is_short_when_processes_wait_and_little_is_left(
    pressure: float, available: float, was_short: bool, short: bool
) -> None:
    assert is_short(MemoryPressure(pressure, available), was_short=was_short) is short
