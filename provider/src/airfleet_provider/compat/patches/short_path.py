"""Tells the short path of scheduling which scheduler it serves, and whether the installed Airflow decides as it does.

tests/local/test_scheduling.py compares the states of runs with and without the short path after every loop.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from airfleet_provider.compat.patches import ready_filter
from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Digest

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def list_decisions() -> Sequence[Any]:
    """Return all functions by which a scheduler takes a task from no state to `queued`, and those that it needs."""
    from airflow.jobs import scheduler_job_runner
    from airflow.models.dagbag import DBDagBag
    from airflow.models.dagrun import DagRun
    from airflow.models.pool import Pool
    from airflow.models.taskinstance import TaskInstance
    from airflow.ti_deps import dependencies_states

    runner = scheduler_job_runner.SchedulerJobRunner
    return [
        runner._do_scheduling,
        runner._schedule_dag_run,
        runner._verify_integrity_if_dag_changed,
        runner._critical_section_enqueue_task_instances,
        runner._executable_task_instances_to_queued,
        runner._enqueue_task_instances_with_queued_state,
        scheduler_job_runner.ConcurrencyMap.load,
        DBDagBag._version_from_dag_run,
        DagRun.get_running_dag_runs_to_examine,
        DagRun.update_state,
        DagRun.task_instance_scheduling_decisions,
        DagRun.schedule_tis,
        Pool.slots_stats,
        TaskInstance.is_task_schedulable,
        TaskInstance.emit_state_change_metric,
        dependencies_states,
    ]


def serve_scheduler(meet: Callable[[Any], None], tell: Callable[[str], None]) -> bool:
    """Call `meet` with Airflow's scheduler at the beginning of each of its loops.

    Return whether the patch is applied. If it is not, `tell` is called with the reason.
    """
    return apply(PATCH, meet, tell=tell) is None


def _make(schedule: Any, meet: Callable[[Any], None]) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    @functools.wraps(schedule)
    def do_scheduling(self: Any, session: Any) -> int:  # noqa: ANN401 - Airflow's own
        meet(self)
        return int(schedule(self, session))

    return (do_scheduling,)


_SCHEDULE = "airflow.jobs.scheduler_job_runner:SchedulerJobRunner._do_scheduling"
DECISIONS = Digest(
    "the ways by which tasks are scheduled and queued",
    list_decisions,
    "055e7650cd4714bf0b9b2ef1e4c6305ecc10e08a4d9d4014a64121df2f661aaa",
)
PATCH = Patch(
    name="scheduler-short-path",
    targets=(_SCHEDULE,),
    requires=(Accepts(_SCHEDULE, ("self", "session")), ready_filter.RULES, DECISIONS),
    make=_make,
    without="a task whose upstream tasks succeeded waits for a whole loop of the scheduler",
    processes="the scheduler",
    over=("scheduler-look", "scheduler-rest"),
)
