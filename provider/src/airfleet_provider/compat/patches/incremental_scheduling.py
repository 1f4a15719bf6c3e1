"""A loop of Airflow's scheduler examines only the Dag runs in which something has changed."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Counts

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

log = logging.getLogger("airfleet")

# What a loop does beside examining running Dag runs and queueing tasks. All of it is due by time or after a message.
LEFT_OUT = (
    "_create_dagruns_for_dags",
    "_start_queued_dagruns",
    "_enqueue_executor_callbacks",
    "_enqueue_connection_tests",
)


@dataclass(slots=True)
class PrefetchedRows:
    """Rows that were read at once for all Dag runs of one pass. Empty between passes."""

    versions: dict[str, Any] = field(default_factory=dict)
    hashes: dict[Any, str] = field(default_factory=dict)
    known: set[tuple[str, str]] = field(default_factory=set)

    def clear(self) -> None:
        self.versions.clear()
        self.hashes.clear()
        self.known.clear()


class NarrowedLoop:
    """A session whose queries of Dag runs find only these runs."""

    def __init__(self, session: Any, runs: Collection[tuple[str, str]]) -> None:  # noqa: ANN401 - Airflow's own
        self._session, self._runs = session, runs

    def scalars(self, query: Any) -> Any:  # noqa: ANN401 - Airflow's own
        from airflow.models.dagrun import DagRun
        from sqlalchemy import tuple_

        return self._session.scalars(query.where(tuple_(DagRun.dag_id, DagRun.run_id).in_(sorted(self._runs))))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a session has
        return getattr(self._session, name)


def look_at_news(
    choose: Callable[[], frozenset[tuple[str, str]] | None],
    forget: Callable[[Iterable[tuple[str, str]]], None],
    tell: Callable[[str], None],
) -> None:
    """Let each loop examine only the Dag runs that `choose` returns, or all Dag runs if it returns None.

    If the patch does not fit, every loop examines all Dag runs, and `tell` is called with the reason.
    """
    apply(PATCH, choose, forget, tell=tell)


def _make(
    schedule: Any,  # noqa: ANN401 - Airflow's own
    harvest: Any,  # noqa: ANN401 - Airflow's own
    examine_runs: Any,  # noqa: ANN401 - Airflow's own
    schedule_all: Any,  # noqa: ANN401 - Airflow's own
    latest: Any,  # noqa: ANN401 - Airflow's own
    current: Any,  # noqa: ANN401 - Airflow's own
    exists: Any,  # noqa: ANN401 - Airflow's own
    *rest: Any,  # noqa: ANN401 - the methods that are left out, and the arguments
) -> Sequence[Any]:
    *left_out, choose, forget = rest
    chosen: frozenset[tuple[str, str]] | None = None
    examine = examine_runs.__func__

    @functools.wraps(schedule)
    def do_scheduling(self: Any, session: Any) -> int:  # noqa: ANN401 - Airflow's own
        nonlocal chosen
        chosen = choose()
        if self.num_runs > 0:
            chosen = None
        return int(schedule(self, session))

    @functools.wraps(examine)
    def get_runs(cls: Any, session: Any) -> Any:  # noqa: ANN401 - Airflow's own
        if chosen is None:
            found = list(examine(cls, session=session))
            forget((run.dag_id, run.run_id) for run in found)
            return found
        return list(examine(cls, session=NarrowedLoop(session, chosen))) if chosen else []

    def leave_out(original: Any) -> Any:  # noqa: ANN401 - Airflow's own
        @functools.wraps(original)
        def do(*words: Any, **options: Any) -> Any:  # noqa: ANN401 - Airflow's own
            return original(*words, **options) if chosen is None else None

        return do

    return (
        do_scheduling,
        _pass_over_ended(harvest),
        classmethod(get_runs),
        *_read_ahead(schedule_all, latest, current, exists),
        *map(leave_out, left_out),
    )


def _read_ahead(schedule: Any, latest: Any, current: Any, exists: Any) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    """Read in three statements for all Dag runs what Airflow reads in four statements for each."""
    ahead = PrefetchedRows()

    @functools.wraps(schedule)
    def schedule_all(self: Any, guard: Any, dag_runs: Any, session: Any) -> Any:  # noqa: ANN401 - Airflow's own
        runs = list(dag_runs)
        try:
            if runs:
                _fill(ahead, runs, session)
            return schedule(self, guard, runs, session)
        finally:
            ahead.clear()

    @functools.wraps(latest)
    def get_latest_version(dag_id: str, **options: Any) -> Any:  # noqa: ANN401 - Airflow's own
        found = ahead.versions.get(dag_id) if options.keys() <= {"session"} else None
        return found or latest(dag_id, **options)

    @functools.wraps(current)
    def read_hash(version_id: Any, session: Any) -> str | None:  # noqa: ANN401 - Airflow's own
        return ahead.hashes.get(version_id) or current(version_id, session)

    @functools.wraps(exists)
    def has_version(self: Any, dag_version_id: Any, **options: Any) -> Any:  # noqa: ANN401 - Airflow's own
        version = ahead.versions.get(self.dag_id)
        if version is not None and version.id == dag_version_id and (self.dag_id, self.run_id) in ahead.known:
            return dag_version_id
        return exists(self, dag_version_id, **options)

    return schedule_all, staticmethod(get_latest_version), staticmethod(read_hash), has_version


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
    session.scalars(select(DagModel).where(DagModel.dag_id.in_(dags))).all()  # later code reads each by its key
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


def _pass_over_ended(harvest: Any) -> Any:  # noqa: ANN401 - Airflow's own
    """Drop reports of an executor that change nothing, before Airflow loads and locks their task instances.

    A report that a task was sent repeats what was written when it was queued. A report that a task ended matters only
    for a task that has not ended: otherwise the task itself has reported its state.
    """

    @functools.wraps(harvest)
    def process(self: Any, executor: Any, session: Any) -> int:  # noqa: ANN401 - Airflow's own
        dropped = _drop_ended(executor, session)
        return dropped + (int(harvest(self, executor=executor, session=session)) if executor.event_buffer else 0)

    return process


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

_RUNNER = "airflow.jobs.scheduler_job_runner:SchedulerJobRunner"
_RUN, _VERSION, _BAG = (
    "airflow.models.dagrun:DagRun",
    "airflow.models.dag_version:DagVersion",
    "airflow.models.dagbag:DBDagBag",
)
PATCH = Patch(
    name="scheduler-look",
    targets=(
        f"{_RUNNER}._do_scheduling",
        f"{_RUNNER}._process_executor_events",
        f"{_RUN}.get_running_dag_runs_to_examine",
        f"{_RUNNER}._schedule_all_dag_runs",
        f"{_VERSION}.get_latest_version",
        f"{_BAG}._current_dag_hash",
        f"{_RUN}.check_version_id_exists_in_dr",
        *(f"{_RUNNER}.{name}" for name in LEFT_OUT),
    ),
    # To leave a part out must equal finding nothing, and the rows read in advance must be read this way.
    requires=(
        Contains(
            f"{_RUNNER}._do_scheduling",
            (
                "self._create_dagruns_for_dags(guard, session)",
                "self._start_queued_dagruns(session)",
                "DagRun.get_running_dag_runs_to_examine(session=session)",
                "self._schedule_all_dag_runs(guard, dag_runs, session)",
            ),
        ),
        Contains(
            f"{_RUNNER}._run_scheduler_loop",
            (
                "self._do_scheduling(session)",
                "self._enqueue_executor_callbacks(session)",
                "self._enqueue_connection_tests(session=session)",
            ),
        ),
        Contains(
            f"{_RUNNER}._schedule_dag_run",
            ("self.scheduler_dag_bag.get_dag_for_run(dag_run=dag_run, session=session)",),
        ),
        Contains(
            f"{_RUNNER}._verify_integrity_if_dag_changed",
            (
                "DagVersion.get_latest_version(dag_run.dag_id, session=session)",
                "dag_run.check_version_id_exists_in_dr(latest_dag_version.id, session=session)",
            ),
        ),
        Contains(
            f"{_RUNNER}.process_executor_events",
            (
                "TaskInstanceState.SCHEDULED,\n                TaskInstanceState.QUEUED,\n"
                "                TaskInstanceState.RUNNING,\n                TaskInstanceState.RESTARTING,",
                "if ti_queued and not ti_requeued:",
            ),
        ),
        Counts(f"{_RUN}.get_running_dag_runs_to_examine", "session.scalars(", 1),
        Accepts(f"{_VERSION}.get_latest_version", ("dag_id",), ("session",)),
        Accepts(f"{_BAG}._current_dag_hash", ("version_id", "session")),
        Accepts(f"{_RUN}.check_version_id_exists_in_dr", ("self", "dag_version_id"), ("session",)),
        Contains(f"{_VERSION}._latest_version_select", ("version_number.desc()",)),
        Contains("airflow.models.dag:DagModel.get_dagmodel", ("session.get(",)),
    ),
    make=_make,
    without="the scheduler examines every Dag run in each loop, as in stock Airflow",
    processes="the scheduler",
)
