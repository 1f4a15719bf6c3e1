"""A run as spans: one for the run, one for each try, and one for each part of a try. Pure functions of rows."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from uuid import UUID

from airfleet_provider.contract import alert_links
from airfleet_provider.contract.run_trace import identity, reading, spans
from airfleet_provider.contract.run_trace.spans import SpanPart, Trace, TracedRun, Try

RESCHEDULED = "rescheduled"
# Longer names of users are cut: collectors refuse attributes without end.
LONGEST_NAME = 300
# The critical path of a run with more tries is not looked for: it takes a time that grows with their square.
MOST_TRIES = 1000

Attribute = str | int | bool


class SpanStatus(IntEnum):
    """How what a span stands for has ended, as OTLP counts it."""

    UNSET = 0
    OK = 1
    ERROR = 2


# An instance that was skipped or removed did neither well nor badly.
_STATUS = {
    "success": SpanStatus.OK,
    "failed": SpanStatus.ERROR,
    "upstream_failed": SpanStatus.ERROR,
    "up_for_retry": SpanStatus.ERROR,
}


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened at one moment within a span."""

    name: str
    at: datetime
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SentSpan:
    """One span with its ids in hexadecimal digits. `parent_id` is empty for the span of a run."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    begin: datetime
    end: datetime
    status: SpanStatus
    attributes: Mapping[str, Attribute]
    events: Sequence[SpanEvent] = ()


@dataclass(frozen=True, slots=True)
class RescheduledTime:
    """A time in which a sensor had given its slot back: from the end of one look to the moment of the next."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class TracedRunRows:
    """All that the database has of an ended run. The keys of `rescheduled` and `events` are ids of tries.

    `sent_until` is the end of the run as a trace has it that was sent before tasks of the run were cleared, or None.
    """

    traced: TracedRun
    rescheduled: Mapping[str, Sequence[RescheduledTime]] = field(default_factory=dict)
    events: Mapping[str, Sequence[SpanEvent]] = field(default_factory=dict)
    sent_until: datetime | None = None


def list_spans(run: TracedRunRows, base_url: str = "") -> Iterator[SentSpan]:
    """Yield the spans of a run, the run's own first. Tries that were sent with an earlier trace are left out.

    Nothing that a user may have put a secret into is in them: no `conf`, no parameters, no XComs, no log lines. Spans
    that the code of tasks measures have what that code names.
    """
    traced = run.traced
    trace = spans.build(traced) if len(traced.tries) <= MOST_TRIES else None
    new = [one for one in traced.tries if run.sent_until is None or _find_begin(one) > run.sent_until]
    root = identity.name_run_span(traced.trace_id, traced.clear_number, traced.end)
    yield _make_run_span(traced, trace, root, new, base_url)
    critical = {one.id for one in trace.critical} if trace else set()
    for one in new:
        yield from _list_try_spans(run, one, root, base_url, is_critical=one.id in critical)


def _make_run_span(run: TracedRun, trace: Trace | None, span_id: str, tries: Sequence[Try], base_url: str) -> SentSpan:
    begin = min([run.begun, *(span.begin for one in tries for span in spans.list_spans(one, run.end)[:1])])
    attributes: dict[str, Attribute] = {
        **_describe_run(run),
        "airflow.run_type": run.kind,
        "airflow.state": run.state,
        "airflow.tries": len(run.tries),
        "airfleet.logs": _write_command("airfleet", "logs", "search", "--dag", run.dag, "--run", run.run),
    }
    if url := alert_links.link_to_run(base_url, {"dag_id": run.dag, "run_id": run.run}):
        attributes["url.full"] = url
    if len(run.tries) >= reading.MOST_TRIES:
        attributes["airfleet.is_partial"] = True
    if run.clear_number:
        attributes["airflow.clear_number"] = run.clear_number
    if trace and trace.critical:
        attributes["airfleet.critical_path.running_s"] = str(round(trace.running_s, 3))
        attributes["airfleet.critical_path.waiting_s"] = str(round(trace.waiting_s, 3))
    if trace and (said := spans.tell_wait(trace)):
        attributes["airfleet.longest_wait"] = _cut(said)
    return SentSpan(
        trace_id=run.trace_id,
        span_id=span_id,
        parent_id="",
        name=_cut(f"dag_run.{run.dag}"),
        begin=begin,
        end=max(begin, run.end),
        status=_STATUS.get(run.state, SpanStatus.UNSET),
        attributes=attributes,
    )


def _list_try_spans(run: TracedRunRows, one: Try, root: str, base_url: str, *, is_critical: bool) -> Iterator[SentSpan]:
    traced = run.traced
    parts = spans.list_spans(one, traced.end)
    at = _find_begin(one)
    begin = parts[0].begin if parts else min(max(one.started or at, traced.begun), traced.end)
    end = max([begin, *(part.end for part in parts)])
    attributes: dict[str, Attribute] = {
        **_describe_run(traced),
        "airflow.task_id": _cut(one.task),
        "airflow.try_number": one.number,
        "airflow.state": one.state or "none",
        "airflow.pool": _cut(one.pool),
        "airflow.queue": _cut(one.queue),
        "airflow.operator": _cut(one.operator),
        "airfleet.on_critical_path": is_critical,
    }
    if one.map_index >= 0:
        attributes["airflow.map_index"] = one.map_index
    if one.host:
        attributes["host.name"] = one.host
    if not one.ended and one.started:
        attributes["airfleet.goes_on"] = True
    if one.started:
        words = ("--dag", traced.dag, "--run", traced.run, "--task", one.task)
        attributes["airfleet.logs"] = _write_command("airfleet", "logs", "search", *words)
        if url := _link_to_try(base_url, traced, one):
            attributes["url.full"] = url
    owner = SentSpan(
        trace_id=traced.trace_id,
        span_id=identity.name_try_span(one.id),
        parent_id=root,
        name=_cut(f"task_run.{one.task}"),
        begin=begin,
        end=end,
        status=_STATUS.get(one.state, SpanStatus.UNSET),
        attributes={key: value for key, value in attributes.items() if value != ""},
        events=run.events.get(one.id, ()),
    )
    yield owner
    for part in parts:
        yield _make_part(owner, one, part.part.value, part.begin, part.end)
    did_run = any(part.part is SpanPart.RUNNING for part in parts)
    above = identity.name_try_span(one.id, SpanPart.RUNNING.value) if did_run else owner.span_id
    yield from _list_user_spans(owner, traced, one, above)
    for number, away in enumerate(run.rescheduled.get(one.id, ())):
        if away.end > away.begin:
            yield _make_part(owner, one, RESCHEDULED, away.begin, away.end, number)


def _list_user_spans(owner: SentSpan, run: TracedRun, one: Try, above: str) -> Iterator[SentSpan]:
    """Yield what the code of a try measured, below its part `running`. What it says of itself is in `code.…`."""
    path: list[str] = []
    for depth, span in spans.list_user_spans(run, one):
        span_id = identity.name_user_span(one.id, span.file, span.number)
        path[depth:] = [span_id]
        attributes: dict[str, Attribute] = {
            f"code.{_cut(key)}": value if isinstance(value, bool | int) else _cut(str(value))
            for key, value in span.attributes.items()
        }
        if span.error:
            attributes["error.type"] = _cut(span.error)
        yield SentSpan(
            trace_id=owner.trace_id,
            span_id=span_id,
            parent_id=path[depth - 1] if depth else above,
            name=_cut(span.name),
            begin=span.begin,
            end=span.end,
            status=SpanStatus.ERROR if span.error else SpanStatus.UNSET,
            attributes=attributes,
        )


def _make_part(owner: SentSpan, one: Try, part: str, begin: datetime, end: datetime, number: int = 0) -> SentSpan:
    """Return the span of a part. Only the part in which the task ran has the status of the try."""
    did_run = part == SpanPart.RUNNING.value
    return SentSpan(
        trace_id=owner.trace_id,
        span_id=identity.name_try_span(one.id, part, number),
        parent_id=owner.span_id,
        name=part,
        begin=begin,
        end=end,
        status=owner.status if did_run else SpanStatus.UNSET,
        attributes={"host.name": one.host} if did_run and one.host else {},
    )


def _find_begin(one: Try) -> datetime:
    """Return when a try began to exist. All of these but a start are by the clock of the scheduler."""
    return one.scheduled or one.queued or one.started or one.ended or _read_moment(one.id)


def _read_moment(try_id: str) -> datetime:
    """Return the moment in a UUID of version 7, which Airflow gives to tries."""
    milliseconds = UUID(try_id).int >> 80
    return datetime.fromisoformat("1970-01-01T00:00:00+00:00") + timedelta(milliseconds=milliseconds)


def _describe_run(run: TracedRun) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {"airflow.dag_id": _cut(run.dag), "airflow.run_id": _cut(run.run)}
    return {**found, "airfleet.release": run.release} if run.release else found


def _link_to_try(base_url: str, run: TracedRun, one: Try) -> str:
    labels = {"dag_id": run.dag, "run_id": run.run, "task_id": one.task, "map_index": str(one.map_index)}
    return alert_links.link_to_task(base_url, labels)


def _write_command(*words: str) -> str:
    """Return a command for a shell, or nothing if it would be too long to be whole."""
    text = shlex.join(words)
    return text if len(text) <= 4 * LONGEST_NAME else ""


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
