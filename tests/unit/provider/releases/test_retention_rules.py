"""Which releases stay, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airfleet_provider.releases.retention_rules import KnownRelease, judge

NOW = datetime(2026, 11, 24, tzinfo=UTC)
DAY = timedelta(days=1)


def know(name: str, days: int, **changes: object) -> KnownRelease:
    return KnownRelease(**{"id": name, "built_at": NOW - days * DAY, "used_at": NOW - days * DAY, **changes})  # type: ignore[arg-type]


NEW = [know("n1", 1), know("n2", 2)]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"is_live": True}, "live"),
        ({"is_previous": True}, "the one before the live one"),
        ({"is_pinned": True}, "pinned"),
        ({"unfinished_runs": 3}, "3 unfinished runs"),
        ({"deployment": 7}, "deployment 7 is not over"),
        ({"live_at": NOW - 90 * DAY}, "one of the last 2 that were live"),
        ({"built_at": NOW}, "one of the last 2 that were built"),
        ({"used_at": NOW - timedelta(minutes=59)}, "used within the last hour"),
        ({"used_at": NOW - timedelta(minutes=61)}, None),
    ],
)
def test_an_old_release_stays_only_for_a_reason(changes: dict[str, object], why: str | None) -> None:
    assert judge([*NEW, know("old", 99, **changes)], 2, NOW).get("old") == why


def test_checks_do_not_push_out_what_was_live() -> None:
    lived = [know(f"l{n}", 50 + n, live_at=NOW - (50 + n) * DAY) for n in range(4)]
    checked = [know(f"c{n}", n + 1) for n in range(9)]
    assert set(judge([*lived, *checked], 2, NOW)) == {"l0", "l1", "c0", "c1"}


def test_the_same_moment_is_no_tie() -> None:
    assert set(judge([know("b", 5), know("a", 5), know("c", 5)], 2, NOW)) == {"b", "c"}
    assert judge([], 2, NOW) == {}
