"""A worker without room on its disk takes nothing from its queues until there is room again."""

from __future__ import annotations

from pathlib import Path

import pytest

from airfleet_provider.executors.disk_space import ENOUGH, LEAST, is_short, measure


@pytest.mark.parametrize(
    ("free", "was_short", "short"),
    [
        (LEAST, False, False),
        (LEAST - 1, False, True),
        (ENOUGH - 1, True, True),
        (ENOUGH, True, False),
    ],
)
def test_what_was_short_needs_more_before_it_goes_on(free: int, was_short: bool, short: bool) -> None:
    assert is_short(free, was_short=was_short) is short


def test_the_fullest_file_system_counts_and_one_that_cannot_be_asked_is_full(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert measure([str(tmp_path)]) > 0
    assert measure([str(tmp_path), str(tmp_path / "file" / "below")]) == 0


def test_a_folder_that_the_first_task_will_make_has_the_room_of_the_one_above(tmp_path: Path) -> None:
    assert measure([str(tmp_path / "worker" / "bundles")]) > 0
