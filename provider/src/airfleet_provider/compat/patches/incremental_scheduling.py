"""A loop of Airflow's scheduler looks at the Dag runs only in which something happened."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

log = logging.getLogger("airfleet")

# What a loop does beside looking at running Dag runs and queueing tasks: all of it is due by the clock, or is told.
LEFT_OUT = (
    "_create_dagruns_for_dags",
    "_start_queued_dagruns",
    "_enqueue_executor_callbacks",
    "_enqueue_connection_tests",
)
# Pieces of Airflow's code on which it rests that leaving out is the same as finding nothing.
RESTS_ON = {
    "_do_scheduling": (
        "self._create_dagruns_for_dags(guard, session)",
        "self._start_queued_dagruns(session)",
        "DagRun.get_running_dag_runs_to_examine(session=session)",
        "self._schedule_all_dag_runs(guard, dag_runs, session)",
    ),
    "_run_scheduler_loop": (
        "self._do_scheduling(session)",
        "self._enqueue_executor_callbacks(session)",
        "self._enqueue_connection_tests(session=session)",
    ),
    "_schedule_dag_run": ("self.scheduler_dag_bag.get_dag_for_run(dag_run=dag_run, session=session)",),
    "_verify_integrity_if_dag_changed": (
        "DagVersion.get_latest_version(dag_run.dag_id, session=session)",
        "dag_run.check_version_id_exists_in_dr(latest_dag_version.id, session=session)",
    ),
    "process_executor_events": (
        "TaskInstanceState.SCHEDULED,\n                TaskInstanceState.QUEUED,\n"
        "                TaskInstanceState.RUNNING,\n                TaskInstanceState.RESTARTING,",
        "if ti_queued and not ti_requeued:",
    ),
}


@dataclass(slots=True)
class PrefetchedRows:
    """What was read for all Dag runs of a look at once; empty between looks."""

    versions: dict[str, Any] = field(default_factory=dict)
    hashes: dict[Any, str] = field(default_factory=dict)
    known: set[tuple[str, str]] = field(default_factory=set)

    def clear(self) -> None:
        self.versions.clear()
        self.hashes.clear()
        self.known.clear()


class NarrowedLoop:
    """A session whose queries of Dag runs find these only."""

    def __init__(self, session: Any, runs: Collection[tuple[str, str]]) -> None:  # noqa: ANN401 - Airflow's own
        self._session, self._runs = session, runs

    def scalars(self, query: Any) -> Any:  # noqa: ANN401 - Airflow's own
        from airflow.models.dagrun import DagRun
        from sqlalchemy import tuple_

        return self._session.scalars(query.where(tuple_(DagRun.dag_id, DagRun.run_id).in_(sorted(self._runs))))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a session has
        return getattr(self._session, name)


def find_obstacle() -> str | None:
    """Why every loop has to look at everything; None when the scheduler works as is known here."""
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.dagrun import DagRun
    from airflow.version import version

    for name, pieces in RESTS_ON.items():
        source = inspect.getsource(getattr(SchedulerJobRunner, name))
        if any(piece not in source for piece in pieces):
            return f"SchedulerJobRunner.{name} of Airflow {version} is another"
    if inspect.getsource(DagRun.get_running_dag_runs_to_examine).count("session.scalars(") != 1:
        return f"DagRun.get_running_dag_runs_to_examine of Airflow {version} is another"
    return None


def look_at_news(
    choose: Callable[[], frozenset[tuple[str, str]] | None], forget: Callable[[Iterable[tuple[str, str]]], None]
) -> None:
    """Let each loop look at the Dag runs that are chosen for it, or at everything when there is no choice."""
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner as Runner
    from airflow.models.dagrun import DagRun

    chosen: frozenset[tuple[str, str]] | None = None
    schedule = Runner._do_scheduling
    if hasattr(schedule, "__wrapped__"):
        return
    examine = DagRun.get_running_dag_runs_to_examine.__func__

    @functools.wraps(schedule)
    def do_scheduling(self: Any, session: Any) -> int:  # noqa: ANN401 - Airflow's own
        nonlocal chosen
        chosen = choose()
        if self.num_runs > 0:
            chosen = None
        return int(schedule(self, session))

    def get_runs(cls: Any, session: Any) -> Any:  # noqa: ANN401 - Airflow's own
        if chosen is None:
            found = list(examine(cls, session=session))
            forget((run.dag_id, run.run_id) for run in found)
            return found
        return list(examine(cls, session=NarrowedLoop(session, chosen))) if chosen else []

    def leave_out(name: str) -> None:
        original = getattr(Runner, name)

        @functools.wraps(original)
        def do(*words: Any, **options: Any) -> Any:  # noqa: ANN401 - Airflow's own
            return original(*words, **options) if chosen is None else None

        setattr(Runner, name, do)

    for name in LEFT_OUT:
        leave_out(name)
    Runner._do_scheduling = do_scheduling
    DagRun.get_running_dag_runs_to_examine = classmethod(get_runs)
    _read_ahead()
    _pass_over_ended()


def _read_ahead() -> None:
    """Read in three statements what Airflow reads in four for each Dag run."""
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner as Runner
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagbag import DBDagBag
    from airflow.models.dagrun import DagRun

    ahead = PrefetchedRows()
    schedule = Runner._schedule_all_dag_runs
    latest, current, exists = (
        DagVersion.get_latest_version,
        DBDagBag._current_dag_hash,
        DagRun.check_version_id_exists_in_dr,
    )

    @functools.wraps(schedule)
    def schedule_all(self: Any, guard: Any, dag_runs: Any, session: Any) -> Any:  # noqa: ANN401 - Airflow's own
        runs = list(dag_runs)
        try:
            if runs:
                _fill(ahead, runs, session)
            return schedule(self, guard, runs, session)
        finally:
            ahead.clear()

    def get_latest_version(dag_id: str, **options: Any) -> Any:  # noqa: ANN401 - Airflow's own
        found = ahead.versions.get(dag_id) if options.keys() <= {"session"} else None
        return found or latest(dag_id, **options)

    def read_hash(version_id: Any, session: Any) -> str | None:  # noqa: ANN401 - Airflow's own
        return ahead.hashes.get(version_id) or current(version_id, session)

    def has_version(self: Any, dag_version_id: Any, **options: Any) -> Any:  # noqa: ANN401 - Airflow's own
        version = ahead.versions.get(self.dag_id)
        if version is not None and version.id == dag_version_id and (self.dag_id, self.run_id) in ahead.known:
            return dag_version_id
        return exists(self, dag_version_id, **options)

    Runner._schedule_all_dag_runs = schedule_all
    DagVersion.get_latest_version = staticmethod(get_latest_version)
    DBDagBag._current_dag_hash = staticmethod(read_hash)
    DagRun.check_version_id_exists_in_dr = has_version


def _fill(ahead: PrefetchedRows, runs: Collection[Any], session: Any) -> None:  # noqa: ANN401 - Airflow's own
    from airflow.models.dag import DagModel
    from airflow.models.dag_version import DagVersion
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select, tuple_

    dags = sorted({run.dag_id for run in runs})
    newest = (
        select(DagVersion, SerializedDagModel.dag_hash)
        .join(SerializedDagModel, SerializedDagModel.dag_version_id == DagVersion.id, isouter=True)
        .where(DagVersion.dag_id.in_(dags))
        .distinct(DagVersion.dag_id)
        .order_by(DagVersion.dag_id, DagVersion.version_number.desc())
    )
    session.scalars(select(DagModel).where(DagModel.dag_id.in_(dags))).all()  # each is asked for by its key later
    for version, digest in session.execute(newest):
        ahead.versions[version.dag_id], ahead.hashes[version.id] = version, digest
    wanted = [
        (run.dag_id, run.run_id, ahead.versions[run.dag_id].id)
        for run in runs
        if run.dag_id in ahead.versions and not run.bundle_version
    ]
    if wanted:
        of = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.dag_version_id)
        known = session.execute(select(*of[:2]).where(tuple_(*of).in_(wanted)).distinct())
        ahead.known.update((dag, run) for dag, run in known)


def _pass_over_ended() -> None:
    """Drop reports of an executor that change nothing before Airflow loads and locks what they are about.

    A report that a task was sent says what was written when it was queued. One that a task ended changes something only
    for a task that has not ended: the others' state came from the task itself.
    """
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner as Runner

    harvest = Runner._process_executor_events

    @functools.wraps(harvest)
    def process(self: Any, executor: Any, session: Any) -> int:  # noqa: ANN401 - Airflow's own
        dropped = _drop_ended(executor, session)
        return dropped + (int(harvest(self, executor=executor, session=session)) if executor.event_buffer else 0)

    Runner._process_executor_events = process


def _drop_ended(executor: Any, session: Any) -> int:  # noqa: ANN401 - Airflow's own
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskinstancekey import TaskInstanceKey
    from sqlalchemy import select

    ends = [
        key
        for key, (state, _) in executor.event_buffer.items()
        if isinstance(key, TaskInstanceKey) and state in ("success", "failed")
    ]
    if not ends:
        return 0
    of = TaskInstance
    known = select(of.dag_id, of.task_id, of.run_id, of.map_index, of.try_number, of.state)
    states = {tuple(row[:4]): row for row in session.execute(known.where(of.filter_for_tis(ends)))}
    dropped = 0
    for key in ends:
        row = states.get((key.dag_id, key.task_id, key.run_id, key.map_index))
        if row is not None and row.try_number == key.try_number and row.state in ENDED:
            state, _ = executor.event_buffer.pop(key)
            log.info(
                "%s of %s %r[%d], try %d: %s, reported %s",
                key.task_id,
                key.dag_id,
                key.run_id,
                key.map_index,
                key.try_number,
                row.state,
                state,
            )
            dropped += 1
    return dropped


# The states in which no report of this try changes anything.
ENDED = ("success", "failed", "skipped", "upstream_failed", "removed", "up_for_retry", "up_for_reschedule", "deferred")
