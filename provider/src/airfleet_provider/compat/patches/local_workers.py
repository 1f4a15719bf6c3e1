"""The workers of Airflow's LocalExecutor end with the scheduler, even if the scheduler is killed."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

from airfleet_provider.compat.patches import cold_start
from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Contains
from airfleet_provider.processes.lifecycle import die_with


def end_with_scheduler() -> None:
    """Let later workers end when this process ends in any way, and supervise tasks as airfleet does.

    A worker holds both ends of the pipe that it reads. So an idle worker would wait for ever for a scheduler that died.
    """
    apply(PATCH)


def _make(run: Any) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    scheduler = os.getpid()

    @functools.wraps(run)
    def run_worker(**options: Any) -> None:  # noqa: ANN401 - Airflow's own
        die_with(scheduler)
        cold_start.prepare_supervisors()
        run(**options)

    return (run_worker,)


PATCH = Patch(
    name="local-workers",
    targets=("airflow.executors.local_executor:_run_worker",),
    requires=(
        Contains("airflow.executors.local_executor:LocalExecutor._spawn_worker", ("target=_run_worker", "kwargs=")),
    ),
    make=_make,
    without="workers of a LocalExecutor outlive a scheduler that is killed, and tasks inherit their connections",
    processes="the scheduler with a LocalExecutor",
    is_required=True,
)
