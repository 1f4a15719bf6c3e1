"""Code around the execution of a task, in its own process: before its `execute`, and when that raises an error."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Counts

# Gets a task instance, its log, and what executes the task. Returns its result, or raises what becomes of the task.
Around = Callable[[Any, Any, Callable[[], Any]], Any]


def guard_tasks(around: Around) -> None:
    """Let `around` execute every task of this process and its later forks."""
    apply(PATCH, around)


def _make(execute: Any, around: Around) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    @functools.wraps(execute)
    def execute_task(context: Any, ti: Any, log: Any) -> Any:  # noqa: ANN401 - Airflow's own
        return around(ti, log, lambda: execute(context=context, ti=ti, log=log))

    return (execute_task,)


_RUNNER = "airflow.sdk.execution_time.task_runner"
PATCH = Patch(
    name="task-guard",
    targets=(f"{_RUNNER}:_execute_task",),
    requires=(Accepts(f"{_RUNNER}:_execute_task", ("context", "ti", "log")),),
    assumes=(
        # `task_process.is_resumed` reads this.
        Contains(f"{_RUNNER}:_execute_task", ("next_method := ti._ti_context_from_server.next_method",)),
        # An error of this kind ends a try without the loss of it.
        Counts(f"{_RUNNER}:_run_task_and_map_outcome", "_execute_task(context=context, ti=ti, log=log)", 1),
        Contains(
            f"{_RUNNER}:_run_task_and_map_outcome",
            ("except AirflowRescheduleException as reschedule:", "state = TaskInstanceState.UP_FOR_RESCHEDULE"),
        ),
    ),
    make=_make,
    without="a task that finds its service away fails and loses a try, and circuit breakers learn nothing from it",
    processes="tasks, where fleet.yaml has breakers or limits",
)
