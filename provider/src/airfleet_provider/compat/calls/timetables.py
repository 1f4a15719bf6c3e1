"""The timetable of a Dag that was just loaded."""

from __future__ import annotations

from typing import Any


def to_core(timetable: Any) -> Any:  # noqa: ANN401 - a timetable of the task SDK, or of Airflow itself
    """Return a timetable as the scheduler will have it."""
    from airflow.serialization.encoders import coerce_to_core_timetable  # noqa: PLC0415

    return coerce_to_core_timetable(timetable)
