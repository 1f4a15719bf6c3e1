"""Find out whether this process runs a task, and let a task be started again."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Any

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def is_task() -> bool:
    """Return whether this process runs user code or loads it for tasks, and so has no access to the database."""
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return getattr(runner, "SUPERVISOR_COMMS", None) is not None or is_blocked()


def is_blocked() -> bool:
    """Return whether Airflow has blocked the database in this process, as in every process that runs or loads tasks."""
    settings, supervisor = (
        sys.modules.get(name) for name in ("airflow.settings", "airflow.sdk.execution_time.supervisor")
    )
    blocked = getattr(supervisor, "BlockedDBSession", None)
    return blocked is not None and getattr(settings, "Session", None) is blocked


def is_supervised() -> bool:
    """Return whether this process runs a task and can reach the task's supervisor."""
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return getattr(runner, "SUPERVISOR_COMMS", None) is not None


def reschedule(seconds: float, now: datetime) -> Exception:
    """Return the exception that a starting task raises to be started again later, without the loss of a try."""
    from airflow.sdk.exceptions import AirflowRescheduleException

    error: Exception = AirflowRescheduleException(now + timedelta(seconds=seconds))
    return error


def is_resumed(ti: Any) -> bool:  # noqa: ANN401 - a RuntimeTaskInstance
    """Return whether a task goes on after it was deferred, so that Airflow calls another method than its `execute`."""
    return bool(getattr(getattr(ti, "_ti_context_from_server", None), "next_method", None))


def ask_variable(name: str) -> str | None:
    """Return the value of a variable from this task's supervisor, past all other secrets backends; None if it has none.

    Raises:
        Exception: The supervisor cannot tell.
    """
    from airflow.sdk.execution_time import comms, task_runner

    answer = task_runner.SUPERVISOR_COMMS.send(comms.GetVariable(key=name))
    return answer.value if isinstance(answer, comms.VariableResult) else None


def find_connections(task: object) -> list[str]:
    """Return the ids of the connections that an operator declares: its attributes whose names end with `conn_id`."""
    found = vars(task).items()
    return [value for name, value in found if name.endswith("conn_id") and isinstance(value, str) and value]
