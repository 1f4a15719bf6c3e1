"""What this process is to Airflow: a task or not; and how a task asks to be started again."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def is_task() -> bool:
    """Whether this process runs user code, or loads it for tasks, and so has no way to the database."""
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return getattr(runner, "SUPERVISOR_COMMS", None) is not None or is_blocked()


def is_blocked() -> bool:
    """Whether Airflow has taken the database away from this process, as from each that runs or loads a task."""
    settings, supervisor = (
        sys.modules.get(name) for name in ("airflow.settings", "airflow.sdk.execution_time.supervisor")
    )
    blocked = getattr(supervisor, "BlockedDBSession", None)
    return blocked is not None and getattr(settings, "Session", None) is blocked


def reschedule(seconds: float, now: datetime) -> Exception:
    """What a task raises while it starts, to be started again later without losing a try."""
    from airflow.sdk.exceptions import AirflowRescheduleException

    error: Exception = AirflowRescheduleException(now + timedelta(seconds=seconds))
    return error
