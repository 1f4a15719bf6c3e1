"""Airflow's scheduler waits for changes instead of sleeping."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, UsesOnce

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def replace_sleep(sleep: Callable[[float], None], tell: Callable[[str], None]) -> bool:
    """Let the scheduler's loop call `sleep` instead of time.sleep. Nothing else in its module uses `time`.

    Return whether the patch is applied. If it is not, `tell` is called with the reason.
    """
    return apply(SLEEP, sleep, tell=tell) is None


def wait_after_work(is_listening: Callable[[], bool], has_store: Callable[[], bool] = lambda: False) -> None:
    """Let the scheduler wait after a loop that completed its work. Airflow loops again after a loop that did anything.

    A loop has not completed its work if it queued as many tasks as it may at once, or if it freed slots of a full
    executor, unless that executor has work in store for its workers. Everything else is announced by a change event,
    even the loop's own changes. Results are read before tasks are queued, and not only after: otherwise a result that
    waited could be assigned to the next try of the same task.
    """
    apply(REST, is_listening, has_store)


def _make_rest(
    schedule: Any,  # noqa: ANN401 - Airflow's own
    harvest: Any,  # noqa: ANN401 - Airflow's own
    is_listening: Callable[[], bool],
    has_store: Callable[[], bool],
) -> Sequence[Any]:
    from airflow.configuration import conf
    from airflow.utils.session import create_session

    at_once = conf.getint("scheduler", "max_tis_per_query") or conf.getint("core", "parallelism")

    @functools.wraps(schedule)
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

    @functools.wraps(harvest)
    def process_executor_events(self: Any, executor: Any, session: Any) -> int:  # noqa: ANN401 - Airflow's own
        was_full = executor.slots_available <= len(executor.event_buffer)
        ended = int(harvest(self, executor=executor, session=session))
        return ended if (was_full and not has_store()) or not may_wait(self) else 0

    def may_wait(runner: Any) -> bool:  # noqa: ANN401 - Airflow's own
        return runner.num_runs <= 0 and is_listening()

    return do_scheduling, process_executor_events


_MODULE = "airflow.jobs.scheduler_job_runner"
_RUNNER = f"{_MODULE}:SchedulerJobRunner"
SLEEP = Patch(
    name="scheduler-sleep",
    targets=(f"{_MODULE}:time",),
    requires=(
        UsesOnce(_MODULE, "time"),
        Contains(
            f"{_RUNNER}._run_scheduler_loop", ("time.sleep(min(self._scheduler_idle_sleep_time, next_event or 0))",)
        ),
    ),
    make=lambda _, sleep: (types.SimpleNamespace(sleep=sleep),),
    without="the scheduler looks for work once a second, as in stock Airflow",
    processes="the scheduler",
)
REST = Patch(
    name="scheduler-rest",
    targets=(f"{_RUNNER}._do_scheduling", f"{_RUNNER}._process_executor_events"),
    requires=(
        Accepts(f"{_RUNNER}._do_scheduling", ("self", "session")),
        Accepts(f"{_RUNNER}._process_executor_events", ("self",), ("executor", "session")),
        Contains(f"{_RUNNER}._run_scheduler_loop", ("self._do_scheduling(session)",)),
    ),
    make=_make_rest,
    without="the scheduler loops once more after each loop that did something, as in stock Airflow",
    processes="the scheduler",
    over=("scheduler-look",),
)
