"""A run becomes spans that say what happened, with ids that stay, and without what a user wrote into the run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from airfleet_provider.contract.run_trace import reading
from airfleet_provider.contract.run_trace.spans import TracedRun, Try
from airfleet_provider.traces import otlp
from airfleet_provider.traces.run_spans import RescheduledTime, SentSpan, SpanStatus, TracedRunRows, list_spans

BEGIN = datetime(2026, 11, 29, 6, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def make_id(seconds: float, number: int) -> str:
    """Return a UUID of version 7 of a moment, as Airflow gives to tries."""
    return str(UUID(int=int(at(seconds).timestamp() * 1000) << 80 | 7 << 76 | number))


def make_try(task: str, number: int, first: float, state: str = "success", **words: object) -> Try:
    one = Try(
        task, -1, number, state, at(first), at(first + 1), at(first + 3), at(first + 10), "worker-1", "default", "pool"
    )
    return replace(one, id=make_id(first, number), **words)  # type: ignore[arg-type]


def make_run(
    *tries: Try, state: str = "success", clear_number: int = 0, begun: float = 0, end: float = 60
) -> TracedRun:
    return TracedRun(
        *("sales", "manual__1", state, at(begun), at(begun), at(end), at(900), tries),
        release="r1",
        kind="manual",
        created=BEGIN,
        clear_number=clear_number,
    )


def name_all(found: list[SentSpan]) -> list[str]:
    return [one.name for one in found]


def test_each_try_has_a_span_with_its_parts_below_the_run() -> None:
    tries = make_try("load", 1, 1, "failed"), make_try("load", 2, 20), make_try("send", 1, 32)
    [run, *rest] = list_spans(TracedRunRows(make_run(*tries)), "https://airflow")
    assert (run.name, run.parent_id, run.begin, run.end, run.status) == (
        *("dag_run.sales", "", BEGIN, at(60), SpanStatus.OK),
    )
    owners = [one for one in rest if one.parent_id == run.span_id]
    assert [(one.name, one.attributes["airflow.try_number"], one.status) for one in owners] == [
        ("task_run.load", 1, SpanStatus.ERROR),
        ("task_run.load", 2, SpanStatus.OK),
        ("task_run.send", 1, SpanStatus.OK),
    ]
    for owner in owners:
        parts = [one for one in rest if one.parent_id == owner.span_id]
        assert name_all(parts) == ["ready", "queued", "running"]
        assert [(one.end - one.begin).total_seconds() for one in parts] == [1, 2, 7]
        assert (owner.begin, owner.end) == (parts[0].begin, parts[-1].end)
    assert len({one.span_id for one in [run, *rest]}) == 1 + 3 * 4
    assert owners[0].attributes["url.full"] == "https://airflow/dags/sales/runs/manual__1/tasks/load"
    assert owners[0].attributes["airfleet.logs"] == ("airfleet logs search --dag sales --run manual__1 --task load")
    assert owners[0].attributes["host.name"] == "worker-1"


def test_the_same_run_has_the_same_spans_and_another_run_of_its_name_has_others() -> None:
    run = make_run(make_try("load", 1, 1))
    first, again = list(list_spans(TracedRunRows(run))), list(list_spans(TracedRunRows(run)))
    assert first == again
    other = list(list_spans(TracedRunRows(replace(run, created=at(-86_400)))))
    assert other[0].trace_id != first[0].trace_id


def test_a_skipped_task_is_no_error_and_a_task_that_never_ran_is_there() -> None:
    idle = {"scheduled": None, "queued": None, "host": ""}
    skipped = make_try("skip", 0, 5, "skipped", **idle, started=at(5), ended=at(5))
    never = make_try("never", 0, 7, "upstream_failed", **idle, started=None, ended=None)
    _, *rest = list_spans(TracedRunRows(make_run(skipped, never, state="failed")))
    assert [(one.name, one.status, one.begin, one.end) for one in rest] == [
        ("task_run.skip", SpanStatus.UNSET, at(5), at(5)),
        ("task_run.never", SpanStatus.ERROR, at(7), at(7)),
    ]


def test_a_cleared_run_adds_only_what_followed() -> None:
    first, again = make_try("load", 1, 1, "failed"), make_try("load", 2, 101)
    before = list(list_spans(TracedRunRows(make_run(first, state="failed", end=12))))
    after = list(
        list_spans(TracedRunRows(make_run(first, again, clear_number=1, begun=100, end=112), sent_until=at(12)))
    )
    assert {one.trace_id for one in before} == {one.trace_id for one in after}
    assert not {one.span_id for one in before} & {one.span_id for one in after}
    assert name_all(after) == ["dag_run.sales", "task_run.load", "ready", "queued", "running"]
    assert (after[0].begin, after[0].end) == (at(100), at(112))


def test_a_run_that_was_cleared_before_it_was_sent_has_all_tries() -> None:
    tries = make_try("load", 1, 1, "failed"), make_try("load", 2, 101)
    found = list(list_spans(TracedRunRows(make_run(*tries, clear_number=1, begun=100, end=112))))
    assert [one.attributes["airflow.try_number"] for one in found if one.name == "task_run.load"] == [1, 2]
    assert found[0].begin == at(1)


def test_a_task_that_goes_on_and_clocks_that_differ_make_no_negative_span() -> None:
    goes_on = make_try("long", 1, 1, "running", ended=None)
    early = make_try("early", 1, 20, started=at(19), ended=at(18))
    found = list(list_spans(TracedRunRows(make_run(goes_on, early, state="failed"))))
    assert all(one.end >= one.begin for one in found)
    [long] = [one for one in found if one.name == "task_run.long"]
    assert long.end == at(60)
    assert long.attributes["airfleet.goes_on"] is True


def test_a_run_that_was_read_in_part_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    run = TracedRunRows(make_run(make_try("a", 1, 0), make_try("b", 2, 3)))
    assert "airfleet.is_partial" not in next(iter(list_spans(run))).attributes
    monkeypatch.setattr(reading, "MOST_TRIES", 2)
    assert next(iter(list_spans(run))).attributes["airfleet.is_partial"] is True


def test_a_sensor_shows_when_it_had_given_its_slot_back() -> None:
    sensor = make_try("wait", 1, 1, ended=at(50))
    away = {sensor.id: [RescheduledTime(at(5), at(20)), RescheduledTime(at(21), at(40))]}
    found = [one for one in list_spans(TracedRunRows(make_run(sensor), away)) if one.name == "rescheduled"]
    assert [(one.begin, one.end) for one in found] == [(at(5), at(20)), (at(21), at(40))]
    assert len({one.span_id for one in found}) == 2


def test_odd_names_survive_the_encoding() -> None:
    odd = "a \u202e\U0001f600 '\"; $(x)\n" + "z" * 900
    run = replace(make_run(make_try(odd, 1, 1), make_try("b", 1, 20)), dag=odd, run="r+1:/?&")
    spans = list(list_spans(TracedRunRows(run), "https://airflow"))
    request = ExportTraceServiceRequest()
    request.ParseFromString(otlp.encode(spans, "fleet"))
    [resource] = request.resource_spans
    sent = resource.scope_spans[0].spans
    assert len(sent) == 1 + 2 * 4
    assert max(len(one.name) for one in sent) < 330
    [link] = [one.value.string_value for one in sent[1].attributes if one.key == "url.full"]
    assert link.isascii()
    assert " " not in link
    assert (sent[0].start_time_unix_nano, sent[0].end_time_unix_nano) == (
        1_795_932_000 * 10**9,
        1_795_932_060 * 10**9,
    )


def test_what_a_collector_rejects_is_read_and_any_other_answer_rejects_nothing() -> None:
    partial = ExportTracePartialSuccess(rejected_spans=3, error_message="too old")
    assert otlp.read_rejected(ExportTraceServiceResponse(partial_success=partial).SerializeToString()) == (3, "too old")
    for body in (b"", b'{"partialSuccess":{}}', b"<html>ok</html>"):
        assert otlp.read_rejected(body) == (0, "")
