"""Spans in the code of tasks: `from airfleet_provider import trace`."""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from airfleet_provider.contract import environment
from airfleet_provider.contract.redaction import MASK, Redaction
from airfleet_provider.contract.task_records import MOST_SPANS, RecordKind
from airfleet_provider.task_records.writer import RecordWriter

# Attributes of a span, and characters of a name and of a value.
MOST_ATTRIBUTES, LONGEST_NAME, LONGEST_VALUE = 20, 100, 200
_PARENT: ContextVar[int] = ContextVar("airfleet_span", default=0)


class MeasuredBlock:
    """A span that has begun: `span.set(rows=12)` adds attributes to it until its block ends."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        self._attributes = attributes

    def set(self, **attributes: Any) -> None:  # noqa: ANN401 - what has a text
        """Add attributes: numbers, booleans, and what has a text."""
        self._attributes.update(attributes)


class SpanRecorder:
    """Writes the spans of one process."""

    def __init__(self, writer: RecordWriter, environ: Mapping[str, str] = os.environ) -> None:
        self._writer = writer
        self._environ = environ
        self._numbers = itertools.count(1)
        self._redaction = Redaction()

    @contextmanager
    def record(self, name: str, attributes: dict[str, Any]) -> Iterator[MeasuredBlock]:
        """Measure a block. The error that ends it passes; the span has the name of its class, and not its text."""
        span = MeasuredBlock(attributes)
        if environment.SPANS not in self._environ:
            yield span
            return
        number = next(self._numbers)
        parent = _PARENT.get()
        token = _PARENT.set(number)
        began, clock = time.time(), time.perf_counter()
        error = ""
        try:
            yield span
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            _PARENT.reset(token)
            if number <= MOST_SPANS:
                body = {
                    "name": self._redaction.hide(str(name))[:LONGEST_NAME],
                    "number": number,
                    "parent": parent,
                    "began": began,
                    "took": time.perf_counter() - clock,
                    "error": error,
                    "attributes": self._shorten(attributes),
                }
                self._writer.write(RecordKind.SPAN, body)
            elif number == MOST_SPANS + 1:
                self._writer.write(RecordKind.CUT, {"why": f"more than {MOST_SPANS} spans"})

    def _shorten(self, attributes: dict[str, Any]) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for key, value in itertools.islice(attributes.items(), MOST_ATTRIBUTES):
            # A name such as `password` hides its value, as it does in a line of a log.
            is_secret = MASK in self._redaction.hide(f"{key}=x")
            kept = value if isinstance(value, bool | int | float) else self._tell(value)
            shown[key[:LONGEST_NAME]] = MASK if is_secret else kept
        return shown

    def _tell(self, value: object) -> str:
        try:
            return self._redaction.hide(str(value)[: 4 * LONGEST_VALUE])[:LONGEST_VALUE]
        except Exception:  # whatever a value's own text raises, the task goes on
            return f"<{type(value).__name__}>"


@functools.cache
def _find_recorder() -> SpanRecorder:
    return SpanRecorder(RecordWriter())


@contextmanager
def trace(name: str, /, **attributes: Any) -> Iterator[MeasuredBlock]:  # noqa: ANN401 - what has a text
    """Measure a block of a task's code, as a span of the trace of its run. It is a decorator too.

    The span is a line in a file of this host: nothing waits for it. Outside a task, or with `user_spans: false` in
    fleet.yaml, the block runs as it is. What you name in attributes leaves this host, so name no secrets.
    """
    with _find_recorder().record(name, attributes) as span:
        yield span
