"""Lines under the name of a try that cannot have written them are marked."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from airfleet_provider.log_index.lines import LineOrigin
from airfleet_provider.log_search.attempts import KnownAttempt, find_doubt

BEGAN = datetime(2026, 11, 29, 6, tzinfo=UTC)
ENDED = BEGAN + timedelta(minutes=10)
ORIGIN = LineOrigin("w1", "task", "payroll", "pay", "r1", -1, 1)
ID = str(uuid.UUID(int=(int(BEGAN.timestamp() * 1000) << 80) | 7 << 76))


def find(minutes: float, state: str = "success", *, is_there: bool = True) -> str:
    at = int((BEGAN + timedelta(minutes=minutes)).timestamp() * 1e6)
    known = KnownAttempt(ID if is_there else "", state, ENDED)
    return find_doubt(at, ORIGIN, {ORIGIN.attempt: known})


@pytest.mark.parametrize(
    ("minutes", "state", "doubt"),
    [
        (5, "success", ""),
        (11, "success", ""),
        (30, "success", "written after this try had ended"),
        (30, "running", ""),
        (30, "deferred", ""),
        (-30, "running", "written before this try existed"),
    ],
)
def test_a_line_outside_the_time_of_its_try_is_doubted(minutes: float, state: str, doubt: str) -> None:
    assert find(minutes, state) == doubt


def test_a_try_that_its_run_does_not_have_is_doubted_and_one_of_a_run_that_is_gone_is_not() -> None:
    assert find(5, is_there=False) == "the run has no such try"
    assert not find_doubt(0, ORIGIN, {})
