"""Drives runs with every trigger rule through loops of Airflow's scheduler; JSON of the states after each loop.

scheduling_twins.py stock|own|short      with AIRFLOW__DATABASE__SQL_ALCHEMY_CONN set to an empty PostgreSQL database
"""

from __future__ import annotations

# Airflow has no types.
# ruff: noqa: ANN401
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from airflow import settings
from airflow.executors.executor_loader import ExecutorLoader
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models import DagModel, DagRun, TaskInstance, import_all_models
from airflow.models.base import Base
from airflow.models.dagbag import DBDagBag
from airflow.models.dagbundle import DagBundleModel
from airflow.models.pool import Pool
from airflow.models.tasklog import LogTemplate
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.sdk import DAG, task
from airflow.task.trigger_rule import TriggerRule
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import event, select

from airfleet_provider.compat.calls import dag_files, dag_publishing, metadata_db
from airfleet_provider.compat.patches import incremental_scheduling, ready_filter, short_path
from airfleet_provider.scheduler_wakeup.short_path import ShortPath

DAY = datetime(2026, 1, 1, tzinfo=UTC)
SETUP_RULE = "all_done_setup_success"
LONGEST = 20


def make_dags() -> list[DAG]:
    """Make the Dags. A task named `fail…` fails, one named `skip…` is skipped, and all others succeed."""
    dags = []
    for rule in sorted(rule.value for rule in TriggerRule if rule.value != SETUP_RULE):
        with DAG(f"rule_{rule}", schedule=None, start_date=DAY, max_active_tasks=50) as dag:
            first, late = step("first"), step("late")
            first >> late
            for name, ups in {
                "all": ["first", "late"],
                "failed": ["fail_one", "late"],
                "skipped": ["skip_one", "late"],
                "none": ["late"],
                "both": ["fail_two", "skip_two", "first"],
            }.items():
                after = step(f"after_{name}", rule)
                for up in ups:
                    (dag.task_dict[up] if up in dag.task_dict else step(up).operator) >> after.operator
                after >> step(f"then_{name}")
        dags.append(dag)
    with DAG("chain", schedule=None, start_date=DAY) as dag:
        previous = step("s0")
        for number in range(1, 6):
            current = step(f"s{number}")
            previous >> current
            previous = current
    dags.append(dag)
    with DAG("mapped", schedule=None, start_date=DAY, max_active_tasks=50) as dag:

        @task(task_id="many")
        def many(x: int) -> None:
            pass

        step("before") >> many.expand(x=[1, 2, 3]) >> step("after")
    dags.append(dag)
    with DAG("setups", schedule=None, start_date=DAY) as dag:
        begin, work, end = step("fail_begin").as_setup(), step("work"), step("end")
        begin >> step("middle") >> work >> end.as_teardown(setups=begin)
    dags.append(dag)
    return dags


def make_limited_dags() -> list[DAG]:
    """Make Dags of which not all tasks may start that have their upstream tasks' success."""
    dags = []
    wide: dict[str, dict[str, Any]] = {
        "diamond": {},
        "in_small_pool": {"pool": "small"},
        "large": {"pool": "large", "pool_slots": 2},
        "limited": {"max_active_tis_per_dag": 1},
        "past": {"depends_on_past": True},
        "first_empty": {},
        "narrow": {},
    }
    for name, options in wide.items():
        with DAG(name, schedule=None, start_date=DAY, max_active_tasks=2 if name == "narrow" else 50) as dag:
            first = EmptyOperator(task_id="first") if name == "first_empty" else step("first")
            last = step("last", priority_weight=2)
            for number in range(4):  # of two that wait for the same slot, the priority chooses
                first >> step(f"middle_{number}", priority_weight=10 * number, **options) >> last
            step("long") >> step("after_long")
            first >> EmptyOperator(task_id="empty") >> step("after_empty")
        dags.append(dag)
    with DAG("branches", schedule=None, start_date=DAY) as dag:
        first, branch = step("first"), LatestOnlyOperator(task_id="latest")
        first >> branch >> step("after_branch") >> step("end")
    dags.append(dag)
    return dags


def step(name: str, rule: str = "all_success", **options: Any) -> Any:
    @task(task_id=name, trigger_rule=rule, **options)
    def work() -> None:
        pass

    return work()


def read_states(session: Any) -> dict[str, Any]:
    """Return the state of each run, and of each task instance with what a scheduler writes beside it."""
    of = TaskInstance
    names = (of.dag_id, of.task_id, of.map_index)
    written = (of.scheduled_dttm, of.queued_dttm, of.queued_by_job_id)
    rows = session.execute(select(*names, of.state, of.try_number, *(column.is_not(None) for column in written)))
    states = {f"{dag}.{name}[{index}]": list(values) for dag, name, index, *values in rows}
    runs = session.execute(select(DagRun.dag_id, DagRun._state))
    return dict(sorted({**states, **dict(map(tuple, runs))}.items()))


def end_queued(session: Any, turn: int) -> set[tuple[str, str]]:
    """End the queued tasks of every second Dag; return the Dag runs in which a task ended."""
    ended = set()
    for ti in session.scalars(select(TaskInstance).where(TaskInstance.state == "queued")):
        if hash_of(ti.dag_id) % 2 == turn % 2:
            word = ti.task_id.partition("_")[0]
            ti.state = {"fail": "failed", "skip": "skipped"}.get(word, "success")
            ti.start_date = ti.end_date = DAY
            ended.add((ti.dag_id, ti.run_id))
    return ended


def hash_of(name: str) -> int:
    return sum(name.encode())


def make_runs(dags: Iterable[DAG]) -> None:
    """Fill an empty database: each Dag is active and has one queued run."""
    import_all_models()
    Base.metadata.create_all(settings.engine)
    with metadata_db.open_session() as session:
        session.add(DagBundleModel(name="b"))
        session.add(LogTemplate(filename="f", elasticsearch_id="e"))
        session.add(Pool(pool="default_pool", slots=500, include_deferred=False))
        for pool in ("small", "large"):
            session.add(Pool(pool=pool, slots=2, include_deferred=False))
    made = [dag_files.serialise(dag)[1] for dag in dags]
    with metadata_db.open_session() as session:
        dag_publishing.write_dags(session, bundle="b", release=None, dags=made, errors={})
    with metadata_db.open_session() as session:
        for data in made:
            dag = DBDagBag().get_latest_version_of_dag(data["dag"]["dag_id"], session=session)
            dag.create_dagrun(
                run_id="run",
                logical_date=DAY,
                data_interval=(DAY, DAY),
                run_after=DAY,
                run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.TEST,
                state=DagRunState.QUEUED,
                session=session,
            )
    with metadata_db.open_session() as session:
        for model in session.scalars(select(DagModel)):
            model.is_paused = False


def main(mode: str) -> None:
    make_runs([*make_dags(), *make_limited_dags()])
    chosen: list[frozenset[tuple[str, str]] | None] = [None]
    patches = (incremental_scheduling.PATCH, ready_filter.PATCH, short_path.PATCH)
    obstacles = [patch.find_obstacle() for patch in patches]
    if mode != "stock":
        incremental_scheduling.look_at_news(lambda: chosen[0], lambda runs: None, obstacles.append)
        ready_filter.pass_over_waiting(obstacles.append)
    ExecutorLoader.init_executors()
    runner = SchedulerJobRunner(job=Job(), num_runs=-1)
    sent: list[Any] = []

    def send(one: SchedulerJobRunner) -> bool:
        sent.extend(one.executor.queued_tasks)
        return True

    path = ShortPath(send=send, read=lambda _: None)
    settled = 0
    statements = [0]
    event.listen(settings.engine, "before_cursor_execute", lambda *_: statements.__setitem__(0, statements[0] + 1))
    with metadata_db.open_session() as session:
        session.add(runner.job)
    seen: list[dict[str, Any]] = []
    for turn in range(LONGEST):
        for _ in range(2):  # a change that the scheduler made itself is told, too
            with metadata_db.open_session() as session:
                before = read_states(session)
            if mode == "short" and chosen[0]:
                path.meet(runner)
                # In one step nothing is queued if not everything fits, so take the runs one by one too.
                steps = [[run] for run in sorted(chosen[0])] if turn % 3 else [sorted(chosen[0])]
                left = frozenset(run for runs in steps for run in path.step(runs))
                settled += len(chosen[0]) - len(left)
                chosen[0] = left
            with metadata_db.open_session() as session:
                runner._do_scheduling(session)
                session.expunge_all()
            for executor in runner.executors:
                executor.queued_tasks.clear()
            with metadata_db.open_session() as session:
                after = read_states(session)
            chosen[0] = frozenset((name.partition(".")[0], "run") for name in after if after[name] != before.get(name))
            seen.append(after)
        with metadata_db.open_session() as session:
            chosen[0] = (chosen[0] or frozenset()) | end_queued(session, turn)
    answer = {
        "obstacles": obstacles,
        "digests": [ready_filter.RULES.compute(), short_path.DECISIONS.compute()],
        "seen": seen,
        "statements": statements[0],
        "settled": settled,
        "sent": len(set(sent)),
        "errors": list(path.counts.slow),
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
