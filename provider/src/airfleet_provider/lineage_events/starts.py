"""The event of the start of a task, from that of its end. A task writes none: the database knows when it began."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airfleet_provider.contract.task_records import is_of_task

_ENDED = frozenset({"COMPLETE", "FAIL", "ABORT"})


def make_start(event: Mapping[str, Any], started: datetime | None) -> dict[str, Any] | None:
    """Return the event of the start, or None for an event that is not of the end of a task of Airflow."""
    if started is None or event.get("eventType") not in _ENDED or not is_of_task(event):
        return None
    run = event.get("run")
    facets = run.get("facets") if isinstance(run, dict) else None
    if not isinstance(run, dict) or not isinstance(facets, dict):
        return None
    known = {name: one for name, one in facets.items() if name != "errorMessage"}
    return {
        **event,
        "eventType": "START",
        "eventTime": started.isoformat(),
        "run": {**run, "facets": known},
        "inputs": [],
        "outputs": [],
    }
