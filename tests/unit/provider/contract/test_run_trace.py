"""A trace says where the time of a run went, which tries decided its end, and how long they waited for what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airfleet.cli.trace import list_lines
from airfleet_provider.contract.run_trace.spans import (
    SpanPart,
    TracedRun,
    Try,
    build,
    choose,
    list_spans,
    tell_wait,
    to_json,
)

BEGIN = datetime(2026, 11, 29, 6, tzinfo=UTC)
CHAIN = {"a": frozenset[str](), "b": frozenset({"a"}), "c": frozenset({"b"})}


def at(seconds: float | None) -> datetime | None:
    return None if seconds is None else BEGIN + timedelta(seconds=seconds)


def make_try(
    task: str,
    scheduled: float | None,
    queued: float | None,
    started: float | None,
    ended: float | None,
    state: str = "success",
    number: int = 1,
    index: int = -1,
) -> Try:
    return Try(
        task,
        index,
        number,
        state,
        at(scheduled),
        at(queued),
        at(started),
        at(ended),
        "host1",
        "default",
        "default_pool",
    )


def make_run(*tries: Try, end: float | None = 100, upstream: dict[str, frozenset[str]] | None = None) -> TracedRun:
    return TracedRun(
        "sales", "r", "success", BEGIN, BEGIN, at(end), BEGIN + timedelta(seconds=200), tries, upstream=upstream or {}
    )


def test_the_critical_path_follows_what_each_task_waited_for() -> None:
    a, b = make_try("a", 1, 2, 3, 10), make_try("b", 11, 12, 13, 30)
    quick, slow = make_try("c", 11, 11, 12, 20, index=0), make_try("c", 11, 40, 41, 60, index=1)
    upstream = {"a": frozenset[str](), "b": frozenset({"a"}), "c": frozenset({"a"}), "d": frozenset({"b", "c"})}
    d = make_try("d", 61, 62, 63, 70)
    trace = build(make_run(a, b, quick, slow, d, end=70, upstream=upstream))
    assert [one.name for one in trace.critical] == ["a", "c[1]", "d"]
    assert trace.running_s == 7 + 19 + 7
    assert trace.running_s + trace.waiting_s == 70
    assert "29.0 s, 41% of the run: c[1] waited for a slot and the scheduler in the pool default_pool" in tell_wait(
        trace
    )


@pytest.mark.parametrize("is_known", [True, False], ids=["with the structure of the Dag", "without it"])
def test_the_cost_of_a_path_does_not_grow_with_the_square_of_its_tries(
    monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    tries = [make_try("a", n, n, n + 0.1, n + 0.5, "failed", n + 1) for n in range(300)]
    run = make_run(*tries, end=300, upstream={"a": frozenset[str]()} if is_known else {})
    looks = 0

    def compare(one: Try, other: object) -> bool:
        nonlocal looks
        looks += 1
        return one is other

    def hash_one(one: Try) -> int:
        nonlocal looks
        looks += 1
        return id(one)

    monkeypatch.setattr(Try, "__eq__", compare)
    monkeypatch.setattr(Try, "__hash__", hash_one)
    trace = build(run)
    assert len(choose(trace, 200)) == 200
    assert len(trace.critical) == 300
    assert looks <= 10 * 300


def test_a_retry_is_on_the_path_with_the_delay_before_it() -> None:
    first, second = make_try("a", 0, 0, 1, 5, "failed"), make_try("a", 305, 305, 306, 310, number=2)
    trace = build(make_run(first, second, end=310, upstream={"a": frozenset()}))
    assert [one.name for one in trace.critical] == ["a", "a try 2"]
    assert "300.0 s, 97% of the run: a try 2 waited between two tries" in tell_wait(trace)


def test_a_task_that_was_skipped_does_not_cut_the_path() -> None:
    a, c = make_try("a", 0, 0, 1, 5), make_try("c", 6, 6, 7, 9)
    skipped = make_try("b", None, None, 5, 5, "skipped")
    assert [one.task for one in build(make_run(a, skipped, c, end=9, upstream=CHAIN)).critical] == ["a", "c"]


def test_without_the_structure_of_the_dag_times_decide() -> None:
    a, b, beside = make_try("a", 0, 0, 1, 5), make_try("b", 6, 6, 7, 20), make_try("x", 0, 0, 1, 15)
    assert [one.task for one in build(make_run(a, beside, b, end=20)).critical] == ["a", "b"]


def test_a_task_that_came_back_from_a_deferral_has_no_time_that_is_not_known() -> None:
    [span] = list_spans(make_try("a", 50, 51, 10, 60), BEGIN)
    assert (span.part, span.seconds) == (SpanPart.RUNNING, 50)


def test_clocks_that_differ_make_no_negative_part() -> None:
    spans = list_spans(make_try("a", 5, 4, 6, 10), BEGIN)
    assert [(one.part, one.seconds) for one in spans] == [(SpanPart.QUEUED, 2), (SpanPart.RUNNING, 4)]


def test_a_run_that_goes_on_ends_now() -> None:
    trace = build(make_run(make_try("a", 1, 2, 3, None, "running"), end=None))
    assert trace.spans[-1].end == trace.run.now
    assert to_json(trace)["end"] is None


def test_a_run_without_a_begun_task_says_so() -> None:
    assert list(list_lines(build(make_run()), 10, 100))[1:] == ["No task of it has begun."]


def test_a_run_whose_first_task_waits_has_no_critical_path_yet() -> None:
    lines = list(list_lines(build(make_run(make_try("a", 1, None, None, None, "scheduled"), end=None)), 10, 100))
    assert not any(line.startswith("critical path") for line in lines)
    assert any("airfleet explain" in line for line in lines)


def test_the_waterfall_marks_the_critical_path_and_fits_the_terminal() -> None:
    tries = [make_try("a", 1, 2, 3, 50), make_try("b", 1, 2, 3, 20), make_try("bad\x1bname", 1, 2, 3, 4)]
    lines = list(list_lines(build(make_run(*tries)), 2, 100))
    assert lines[1].startswith("* a")
    assert lines[2].startswith("  b")
    assert "█" in lines[1]
    assert "1 more tries" in lines[3]
    assert all(len(line) <= 100 and "\x1b" not in line for line in lines[:4])
