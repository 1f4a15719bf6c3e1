"""Airflow's scheduler continues after an outage of its database, and fails only tasks that could have reported."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.compat.calls.db_errors import choose_pause, is_outage
from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Has
from airfleet_provider.contract.text import one_line
from airfleet_provider.liveness.heartbeat_history import Heartbeat

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

log = logging.getLogger(__name__)

# A loop that ran for so many seconds had a database. Its next outage is another one.
RECOVERED_S = 10.0


class LivenessJudge(Protocol):
    """The rule that decides which silent tasks are dead."""

    def judge(self, beats: Mapping[object, Heartbeat]) -> Mapping[float, Collection[object]]:
        """Return the running tasks that are dead, grouped by the seconds of silence that were allowed."""


def outlast_outages(judge: LivenessJudge) -> None:
    """Let the scheduler of this process continue after an outage of its database, and fail only tasks of `judge`.

    Airflow itself compares the times of heartbeats, which api-servers write, with the clock of the scheduler's host.

    Raises:
        UnfitAirflowError: This Airflow finds dead tasks in another way.
    """
    apply(SCHEDULER, judge)


def _make_scheduler(
    loop: Any,  # noqa: ANN401 - Airflow's own
    purge: Any,  # noqa: ANN401 - Airflow's own
    judge: LivenessJudge,
    answers: Callable[[], bool] = metadata_db.answers,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Sequence[Any]:
    from sqlalchemy.exc import DBAPIError, PendingRollbackError
    from sqlalchemy.exc import TimeoutError as ExhaustedError

    @functools.wraps(loop)
    def run(self: Any) -> None:  # noqa: ANN401 - a SchedulerJobRunner
        since = clock()
        while True:
            began = clock()
            try:
                loop(self)
            except (DBAPIError, PendingRollbackError, ExhaustedError) as error:
                if not is_outage(error):
                    raise
                log.warning(
                    "the database does not answer; the scheduler waits for it: %s", one_line(str(error).splitlines()[0])
                )
                if clock() - began > RECOVERED_S:
                    since = clock()
                sleep(choose_pause(clock() - since))
                # Airflow's loop begins with a statement that it repeats after pauses of its own.
                while not answers():
                    sleep(choose_pause(clock() - since))
            else:
                return

    @functools.wraps(purge)
    def purge_dead(self: Any) -> None:  # noqa: ANN401
        beats = _read_beats(self.job.id)
        for silent_s, dead in judge.judge(beats).items():
            log.warning("%d tasks are dead after %g s of silence", len(dead), silent_s)
            with _only(self, {task: beats[task] for task in dead}, silent_s):
                purge(self)

    return run, purge_dead


def _read_beats(job_id: int) -> dict[object, Heartbeat]:
    """Return the running tasks that a scheduler queued, with their last heartbeats."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    wanted = select(TaskInstance.id, TaskInstance.hostname, TaskInstance.last_heartbeat_at).where(
        TaskInstance.state.in_(_list_running()),
        TaskInstance.queued_by_job_id == job_id,
        TaskInstance.last_heartbeat_at.is_not(None),
    )
    with create_session() as session:
        return {task: Heartbeat(host or "", stamp) for task, host, stamp in session.execute(wanted)}


def _list_running() -> tuple[Any, ...]:
    from airflow.utils.state import TaskInstanceState

    return (TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING)


@contextlib.contextmanager
def _only(runner: Any, dead: Mapping[object, Heartbeat], silent_s: float) -> Iterator[None]:  # noqa: ANN401
    """Let a scheduler find only these dead tasks, without those that sent a heartbeat meanwhile."""
    timeout_s = runner._task_instance_heartbeat_timeout_secs
    runner._task_instance_heartbeat_timeout_secs = silent_s  # Airflow writes this time-out to the log and the task
    runner._find_task_instances_without_heartbeats = lambda *, session: _load(session, dead)
    try:
        yield
    finally:
        del runner._find_task_instances_without_heartbeats
        runner._task_instance_heartbeat_timeout_secs = timeout_s


def _load(session: Any, dead: Mapping[object, Heartbeat]) -> list[Any]:  # noqa: ANN401
    """Load task instances with everything that Airflow loads for dead ones."""
    from airflow.jobs.scheduler_job_runner import _eager_load_dag_run_for_validation
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select
    from sqlalchemy.orm import selectinload

    loaded = (selectinload(TaskInstance.dag_model), selectinload(TaskInstance.dag_version))
    wanted = (
        select(TaskInstance)
        .options(*loaded, *_eager_load_dag_run_for_validation())
        .join(TaskInstance.dag_model)
        .where(TaskInstance.id.in_(dead), TaskInstance.state.in_(_list_running()))
    )
    return [one for one in session.scalars(wanted) if one.last_heartbeat_at == dead[one.id].stamp]


def notice_exhausted_pools(note: Callable[[BaseException], None]) -> None:
    """Call `note` when a pool has no free connection. A database that hangs causes that; SQLAlchemy has no event."""
    apply(POOLS, note)


def _make_pools(original: Any, note: Callable[[BaseException], None]) -> Sequence[Any]:  # noqa: ANN401 - SQLAlchemy's
    from sqlalchemy.exc import TimeoutError as ExhaustedError

    @functools.wraps(original)
    def connect(self: Any) -> Any:  # noqa: ANN401 - a Pool and its connection
        try:
            return original(self)
        except ExhaustedError as error:
            note(error)
            raise

    return (connect,)


_RUNNER = "airflow.jobs.scheduler_job_runner:SchedulerJobRunner"
_PURGE = f"{_RUNNER}._find_and_purge_task_instances_without_heartbeats"
SCHEDULER = Patch(
    name="scheduler-outages",
    targets=(f"{_RUNNER}._run_scheduler_loop", _PURGE),
    requires=(
        Accepts(f"{_RUNNER}._run_scheduler_loop", ("self",)),
        Accepts(_PURGE, ("self",)),
        Contains(_PURGE, ("self._find_task_instances_without_heartbeats(",)),
        Contains(f"{_RUNNER}._find_task_instances_without_heartbeats", ("self._task_instance_heartbeat_timeout_secs",)),
        Accepts("airflow.jobs.scheduler_job_runner:_eager_load_dag_run_for_validation"),
        Has("airflow.models.taskinstance:TaskInstance", ("queued_by_job_id", "last_heartbeat_at", "hostname")),
    ),
    make=_make_scheduler,
    without="the scheduler stops in an outage of its database, and fails tasks that could not report",
    processes="the scheduler",
    is_required=True,
)
POOLS = Patch(
    name="exhausted-pools",
    targets=("sqlalchemy.pool:Pool.connect",),
    requires=(Accepts("sqlalchemy.pool:Pool.connect", ("self",)),),
    make=_make_pools,
    without="an api-server whose database hangs answers some requests as if the object did not exist",
    processes="api-servers",
    is_required=True,
)
