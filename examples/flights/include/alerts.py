"""What happens when a task has failed for good."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

log = logging.getLogger("flights.alerts")


def report_failure(context: Mapping[str, Any]) -> None:
    """Append one JSON line about the failed task instance; never raises, so it cannot hide the failure itself."""
    try:
        line = json.dumps(describe_failure(context), sort_keys=True)
        log.error("flights alert %s", line)
        append_line(_alerts_file(), line)
        # An e-mail or a Slack message goes out from here: SmtpNotifier(...).notify(context) or
        # SlackNotifier(...).notify(context), with the same fields.
    except Exception:
        log.exception("could not report a failure")


def describe_failure(context: Mapping[str, Any], now: datetime | None = None) -> dict[str, Any]:
    """Return the fields an alert needs; what the context lacks is None."""
    instance = context.get("ti") or context.get("task_instance")
    error = context.get("exception")
    return {
        "at": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "severity": "error",
        "dag": getattr(instance, "dag_id", None),
        "task": getattr(instance, "task_id", None),
        "run": getattr(instance, "run_id", None),
        "map_index": getattr(instance, "map_index", None),
        "try": getattr(instance, "try_number", None),
        "error": type(error).__name__ if isinstance(error, BaseException) else None,
        "message": str(error)[:500] if error is not None else None,
    }


def append_line(path: Path, line: str) -> None:
    """Add one line to a file that several processes may be writing to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def _alerts_file() -> Path:
    # Not an Airflow variable: an alert must get out when the API server is what failed.
    return Path(os.environ.get("AIRFLEET_STATE") or ".airfleet") / "flights" / "alerts.jsonl"
