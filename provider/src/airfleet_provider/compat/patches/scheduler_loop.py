"""Airflow's scheduler waits for changes instead of sleeping."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Callable
from typing import Any

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


def wait_after_work(is_listening: Callable[[], bool], has_store: Callable[[], bool] = lambda: False) -> None:
    """Let the scheduler wait after a loop that left nothing undone; Airflow's loops again after any that did something.

    A loop leaves something undone when it queued as many tasks as it may at once, or when it freed slots of an executor
    that was full; not so when that executor has work in store for its workers. All else it waits for is news, its own
    changes too. Results are read before anything is queued, not only after: one that has waited with the scheduler must
    not be taken for that of a task which is to run again.
    """
    from airflow.configuration import conf
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.utils.session import create_session

    schedule, harvest = SchedulerJobRunner._do_scheduling, SchedulerJobRunner._process_executor_events
    if hasattr(schedule, "airfleet"):
        return
    at_once = conf.getint("scheduler", "max_tis_per_query") or conf.getint("core", "parallelism")

    def do_scheduling(self: Any, session: Any) -> int:  # noqa: ANN401 - Airflow's own
        if is_listening():
            for executor in self.executors:
                getattr(executor, "read_results", executor.sync)()
                if executor.event_buffer:
                    with create_session(scoped=False) as own:
                        harvest(self, executor=executor, session=own)
        free = sum(executor.slots_available for executor in self.executors)
        queued = int(schedule(self, session))
        is_cut_off = queued >= min(at_once, free) and not (queued >= free and has_store())
        return queued if is_cut_off or not may_wait(self) else 0

    def process_executor_events(self: Any, executor: Any, session: Any) -> int:  # noqa: ANN401 - Airflow's own
        was_full = executor.slots_available <= len(executor.event_buffer)
        ended = int(harvest(self, executor=executor, session=session))
        return ended if (was_full and not has_store()) or not may_wait(self) else 0

    def may_wait(runner: Any) -> bool:  # noqa: ANN401 - Airflow's own
        return runner.num_runs <= 0 and is_listening()

    do_scheduling.airfleet = True  # type: ignore[attr-defined]
    SchedulerJobRunner._do_scheduling = do_scheduling
    SchedulerJobRunner._process_executor_events = process_executor_events
