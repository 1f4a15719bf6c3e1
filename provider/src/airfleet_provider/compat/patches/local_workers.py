"""The workers of Airflow's LocalExecutor end with the scheduler, however the scheduler ends."""

from __future__ import annotations

import functools
import os
from typing import Any

from airflow.executors import local_executor

from airfleet_provider.compat.patches import cold_start
from airfleet_provider.processes.lifecycle import die_with


def end_with_scheduler() -> None:
    """Let workers started from now on end when this process does, however it does, and supervise as airfleet does.

    They hold both ends of the pipe that they wait at, so an idle one would wait for ever for a scheduler that failed.
    """
    run = local_executor._run_worker
    if hasattr(run, "__wrapped__"):
        return
    scheduler = os.getpid()

    @functools.wraps(run)
    def run_worker(**options: Any) -> None:  # noqa: ANN401 - Airflow's own
        die_with(scheduler)
        cold_start.prepare_supervisors()
        run(**options)

    local_executor._run_worker = run_worker
