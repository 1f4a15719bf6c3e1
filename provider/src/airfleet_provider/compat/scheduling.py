"""Airflow's private names around the scheduler's wait; tests/unit/provider/test_compat_scheduling.py checks them."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Callable

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

WAIT = "time.sleep(min(self._scheduler_idle_sleep_time, next_event or 0))"


def find_obstacle() -> str | None:
    """Why the scheduler's wait cannot be replaced; None when it can."""
    from airflow.jobs import scheduler_job_runner
    from airflow.version import version

    source = inspect.getsource(scheduler_job_runner)
    uses = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and node.id == "time"]
    if len(uses) != 1 or WAIT not in source:
        return f"Airflow {version} waits in another way"
    return None


def replace_sleep(sleep: Callable[[float], None]) -> None:
    """Let the scheduler's loop call this where it calls time.sleep; nothing else in its module uses `time`."""
    from airflow.jobs import scheduler_job_runner

    scheduler_job_runner.time = types.SimpleNamespace(sleep=sleep)
