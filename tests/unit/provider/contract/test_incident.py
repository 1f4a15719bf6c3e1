"""A time line has what happened in its order, what is equal once, and nothing that a name could smuggle in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airfleet.cli import options
from airfleet.errors import UsageError
from airfleet_provider.contract.incident.events import IncidentEvent, TimeLine, list_lines, merge, to_json, to_markdown

BEGIN = datetime(2026, 11, 29, 6, tzinfo=UTC)


def event(second: int, what: str, subject: str = "sales", **more: bool | str) -> IncidentEvent:
    return IncidentEvent(BEGIN + timedelta(seconds=second), "change", subject, what, **more)  # type: ignore[arg-type]


def make_line(*events: IncidentEvent) -> TimeLine:
    return TimeLine(BEGIN, BEGIN + timedelta(hours=2), merge(events))


def test_events_are_in_order_and_equal_ones_are_one() -> None:
    line = make_line(event(90, "cleared"), event(5, "paused", actor="ann"), event(40, "cleared"), event(300, "cleared"))
    assert [(one.what, one.count) for one in line.events] == [("paused", 1), ("cleared", 2), ("cleared", 1)]
    first, second, _ = list_lines(line)
    assert first == "2026-11-29 06:00:05   change  sales: paused by ann"
    assert "(2 times)" in second


def test_what_went_wrong_is_marked() -> None:
    first, second = list_lines(make_line(event(1, "failed", is_bad=True), event(2, "cleared")))
    assert (first[20], second[20]) == ("!", " ")


def test_a_name_cannot_break_the_terminal_or_the_table() -> None:
    line = make_line(event(1, "a | b\nc \x1b[31m", subject="<script>"))
    assert "\x1b" not in "".join(list_lines(line))
    [row] = [text for text in to_markdown(line) if "06:00:01" in text]
    assert row.count(" | ") == 4
    assert "<script>" not in row
    assert "\n" not in row


def test_a_review_counts_what_went_wrong() -> None:
    text = "\n".join(to_markdown(make_line(event(1, "failed", is_bad=True), event(2, "failed", is_bad=True))))
    assert text.startswith("# Incident of 2026-11-29 06:00 to 2026-11-29 08:00 UTC")
    assert "What went wrong: change 2." in text
    assert "## Cause" in text


def test_json_has_each_event_with_its_first_and_last_time() -> None:
    body = to_json(make_line(event(1, "cleared"), event(31, "cleared")))
    assert body["events"] == [
        {
            "at": "2026-11-29T06:00:01+00:00",
            "last": "2026-11-29T06:00:31+00:00",
            "kind": "change",
            "subject": "sales",
            "what": "cleared",
            "actor": "",
            "is_bad": False,
            "count": 2,
        }
    ]


@pytest.mark.parametrize(("text", "ago"), [("2h", 7200), ("30m", 1800), ("1d", 86400)])
def test_a_span_is_counted_back_from_now(text: str, ago: int) -> None:
    assert options.read_since(text, BEGIN) == BEGIN - timedelta(seconds=ago)


def test_a_moment_that_cannot_be_read_is_refused() -> None:
    assert options.read_since("2026-11-29 05:00", BEGIN) == BEGIN - timedelta(hours=1)
    with pytest.raises(UsageError) as caught:
        options.read_since("5x", BEGIN)
    assert "30m, 2h or 7d" in caught.value.hint
