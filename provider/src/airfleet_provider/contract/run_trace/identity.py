"""The ids of traces and spans, derived from what they stand for: a span that is sent again is the same span."""

from __future__ import annotations

import hashlib
from datetime import datetime


def name_trace(dag: str, run: str, created: datetime | None) -> str:
    """Return the id of the trace of a run, as 32 hexadecimal digits.

    The moment at which the run was made tells it from a run of the same name that was deleted, or of another fleet.
    """
    return _digest(32, "run", dag, run, created.timestamp() if created else "")


def name_run_span(trace_id: str, clear_number: int, ended: datetime) -> str:
    """Return the id of the span of a whole run, as 16 hexadecimal digits.

    A run that was cleared, or whose end somebody has changed, has another span.
    """
    return _digest(16, "run span", trace_id, clear_number, ended.timestamp())


def name_try_span(try_id: str, part: str = "", number: int = 0) -> str:
    """Return the id of the span of a try or of a part of it. Airflow gives each try an id of its own."""
    return _digest(16, "try span", try_id, part, number)


def name_user_span(try_id: str, file: str, number: int) -> str:
    """Return the id of a span that the code of a try measured. Each process of a try has a file of its own."""
    return _digest(16, "user span", try_id, file, number)


def _digest(digits: int, *words: object) -> str:
    # No user's word has the separator in it with another meaning: each word has its length before it.
    text = "".join(f"{len(str(word))}:{word}" for word in words)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
