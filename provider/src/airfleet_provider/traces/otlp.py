"""Spans as OTLP has them: messages of protocol buffers, in the classes that OpenTelemetry makes of its definitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from airfleet_provider.traces.run_spans import Attribute, SentSpan

CONTENT_TYPE = "application/x-protobuf"
SCOPE = "airfleet"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode(spans: Iterable[SentSpan], service: str) -> bytes:
    """Return the body of a request that hands over the spans."""
    scope = ScopeSpans(scope=InstrumentationScope(name=SCOPE), spans=[_make_span(one) for one in spans])
    resource = Resource(attributes=_make_attributes({"service.name": service, "telemetry.sdk.name": SCOPE}))
    request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope])])
    return bytes(request.SerializeToString())


def read_rejected(body: bytes) -> tuple[int, str]:
    """Return how many spans the collector has refused for good, and why. An answer that is no OTLP refuses none."""
    answer = ExportTraceServiceResponse()
    try:
        answer.ParseFromString(body)
    except DecodeError:
        return 0, ""
    return max(0, answer.partial_success.rejected_spans), str(answer.partial_success.error_message)


def _make_span(one: SentSpan) -> Span:
    return Span(
        trace_id=bytes.fromhex(one.trace_id),
        span_id=bytes.fromhex(one.span_id),
        parent_span_id=bytes.fromhex(one.parent_id),
        name=one.name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=_count_nanoseconds(one.begin),
        end_time_unix_nano=_count_nanoseconds(one.end),
        attributes=_make_attributes(one.attributes),
        events=[
            Span.Event(
                time_unix_nano=_count_nanoseconds(event.at),
                name=event.name,
                attributes=_make_attributes(event.attributes),
            )
            for event in one.events
        ],
        status=Status(code=Status.StatusCode.ValueType(one.status.value)),
    )


def _make_attributes(attributes: Mapping[str, Attribute]) -> Sequence[KeyValue]:
    return [KeyValue(key=key, value=_make_value(value)) for key, value in attributes.items()]


def _make_value(value: Attribute) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)


def _count_nanoseconds(moment: datetime) -> int:
    """Return the nanoseconds since 1970, exactly: a float has not enough digits."""
    past = max(moment, _EPOCH) - _EPOCH
    return (past.days * 86_400 + past.seconds) * 10**9 + past.microseconds * 1000
