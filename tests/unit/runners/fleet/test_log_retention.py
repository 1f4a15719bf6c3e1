"""Logs of a fleet that are removed before their runs are archived: `airfleet doctor` and `airfleet plan` warn."""

from __future__ import annotations

import pytest

from airfleet.runners.fleet.diagnosis import judge_log_retention
from places import NINE, parse

STORED = "archive: {store: /mnt/runs}\n"


def test_a_fleet_whose_logs_go_before_their_runs_is_warned_with_what_to_write() -> None:
    (found,) = judge_log_retention(parse(f"{NINE}{STORED}"))
    assert found.level == "warning"
    assert "after 90 days" in found.what
    assert "after 30" in found.what
    assert "`retention: {logs: 100}`" in found.hint


@pytest.mark.parametrize(
    "text",
    [
        "",  # nothing is archived
        f"{STORED}retention: {{logs: 91}}\n",
        "archive: {store: /mnt/runs, retention: 29}\n",
    ],
)
def test_a_fleet_whose_logs_outlast_their_runs_is_not(text: str) -> None:
    assert list(judge_log_retention(parse(f"{NINE}{text}"))) == []


def test_logs_that_go_on_the_day_of_their_runs_are_too_early() -> None:
    assert list(judge_log_retention(parse(f"{NINE}{STORED}retention: {{logs: 90}}\n")))
