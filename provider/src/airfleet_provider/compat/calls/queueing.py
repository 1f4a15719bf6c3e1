"""Private functions of Airflow's scheduler: which Dag it schedules by, and how it gives tasks to its executor."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def is_simple(runner: Any) -> bool:  # noqa: ANN401 - a SchedulerJobRunner
    """Return whether a scheduler has one executor for everybody, and loops without end."""
    return len(runner.executors) == 1 and not runner._multi_team and runner.num_runs <= 0


def read_lock() -> int:
    """Return the key of the advisory lock under which schedulers queue tasks."""
    from airflow.utils.db import DBLocks

    return int(DBLocks.SCHEDULER_CRITICAL_SECTION.value)


def read_now() -> datetime:
    """Return the time that Airflow would write into a task instance."""
    from airflow._shared.timezones import timezone

    now: datetime = timezone.utcnow()
    return now


def get_dag(runner: Any, version: str, session: Any) -> Any:  # noqa: ANN401 - Airflow's own
    """Return the serialised Dag of a version from the cache of the scheduler, or None."""
    return runner.scheduler_dag_bag.get_dag(UUID(version), session=session)


def count_free_slots(runner: Any) -> int:  # noqa: ANN401 - a SchedulerJobRunner
    """Return how many tasks the scheduler may queue now."""
    executor = runner.executor
    free = min(executor.slots_available, runner._parallelism - executor.slots_occupied)
    most = runner.job.max_tis_per_query
    return int(min(free, most) if most else free)


def hand_over(runner: Any, ids: Collection[str], session: Any) -> None:  # noqa: ANN401 - Airflow's own
    """Give task instances that this transaction queued to the executor, which sends them later.

    Commit afterwards. If the commit fails, the executor keeps the tasks, as after a failed loop of Airflow's: nobody
    knows whether they are queued, and a worker starts no task that is not.

    Raises:
        RuntimeError: The executor did not get all of them, and has forgotten them.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select
    from sqlalchemy.orm import joinedload

    wanted = select(TaskInstance).where(TaskInstance.id.in_(ids)).options(joinedload(TaskInstance.dag_model))
    tis = list(session.scalars(wanted))
    executor = runner.executor
    before = set(executor.queued_tasks)
    try:
        runner._enqueue_task_instances_with_queued_state(tis, executor, session=session)
        new = len(set(executor.queued_tasks) - before)
        if new != len(ids):
            raise RuntimeError(f"the executor got {new} of {len(ids)} tasks")
        for ti in tis:
            ti.emit_state_change_metric(TaskInstanceState.QUEUED)
    except BaseException:
        for key in set(executor.queued_tasks) - before:
            del executor.queued_tasks[key]
        raise


def send(runner: Any) -> bool:  # noqa: ANN401 - a SchedulerJobRunner
    """Let the executor send what it has; return whether it has sent everything."""
    executor = runner.executor
    executor.trigger_tasks(executor.parallelism - len(executor.running))
    return not executor.queued_tasks


def read_results(runner: Any) -> None:  # noqa: ANN401 - a SchedulerJobRunner
    """Let the executor read the results of ended tasks, which hold its slots until then."""
    executor = runner.executor
    getattr(executor, "read_results", executor.sync)()
