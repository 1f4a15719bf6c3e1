"""Spans that the code of tasks measures, in `airfleet trace` and in what a collector gets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airfleet.cli.trace import list_lines
from airfleet_provider.contract.run_trace import spans
from airfleet_provider.contract.run_trace.spans import TracedRun, Try, UserSpan
from airfleet_provider.traces import run_spans
from airfleet_provider.traces.run_spans import SpanStatus, TracedRunRows

BEGIN = datetime(2026, 11, 29, 6, tzinfo=UTC)
ID = "0198b9c0-0000-7000-8000-000000000001"


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def measure(number: int, parent: int, name: str, begin: float, seconds: float, error: str = "") -> UserSpan:
    return UserSpan(ID, "f", number, parent, name, error, at(begin), seconds, {"rows": number})


def make_run(*own: UserSpan) -> TracedRun:
    one = Try("load", -1, 1, "success", at(0), at(1), at(2), at(10), id=ID)
    return TracedRun("sales", "r", "success", BEGIN, BEGIN, at(10), at(10), [one], created=BEGIN, user_spans=own)


OUTER, INNER = measure(1, 0, "load orders", 3, 6), measure(2, 1, "parse\x1b[2J", 4, 2, "ValueError")


def test_spans_of_code_are_drawn_below_their_try_and_steer_no_terminal() -> None:
    lines = list(list_lines(spans.build(make_run(INNER, OUTER)), 60, 100))
    own = [line for line in lines if ">" in line.split("|")[0]]
    assert [line.split("|")[0].strip() for line in own] == ["> load orders", "> parse\\x1b[2J"]
    assert "rows=1" in own[0]
    assert "ValueError!" in own[1]
    assert "\x1b" not in "".join(lines)


def test_a_collector_gets_them_below_the_part_in_which_the_task_ran() -> None:
    sent = list(run_spans.list_spans(TracedRunRows(make_run(OUTER, INNER))))
    again = list(run_spans.list_spans(TracedRunRows(make_run(OUTER, INNER))))
    by_name = {one.name: one for one in sent}
    outer, inner = by_name["load orders"], by_name["parse\x1b[2J"]
    assert outer.parent_id == by_name["running"].span_id
    assert inner.parent_id == outer.span_id
    assert (outer.status, inner.status) == (SpanStatus.UNSET, SpanStatus.ERROR)
    assert (outer.attributes, inner.attributes) == ({"code.rows": 1}, {"code.rows": 2, "error.type": "ValueError"})
    assert [one.span_id for one in sent] == [one.span_id for one in again], "what is sent twice is the same span"
    assert len({one.span_id for one in sent}) == len(sent)


@pytest.mark.parametrize(("parent", "depth"), [(2, 0), (7, 0), (1, 1), (-1, 0)])
def test_a_parent_that_cannot_be_is_none(parent: int, depth: int) -> None:
    run = make_run(OUTER, replace(INNER, parent=parent))
    assert [found for found, one in spans.list_user_spans(run, run.tries[0]) if one.number == 2] == [depth]


def test_the_spans_of_one_try_are_those_of_no_other() -> None:
    run = make_run(replace(OUTER, owner="other"))
    assert not list(spans.list_user_spans(run, run.tries[0]))
    assert spans.to_json(spans.build(run))["user_spans"] == []
