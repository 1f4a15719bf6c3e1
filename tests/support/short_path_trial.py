"""Takes the short path of scheduling in runs where something is in its way; JSON of what became of the second task.

short_path_trial.py      with AIRFLOW__DATABASE__SQL_ALCHEMY_CONN set to an empty PostgreSQL database
"""

from __future__ import annotations

# Airflow has no types.
# ruff: noqa: ANN401
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from airflow.executors.executor_loader import ExecutorLoader
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models import DagModel, DagRun, Pool, TaskInstance
from airflow.sdk import DAG
from sqlalchemy import event, select, text, update
from sqlalchemy.orm import Session

from airfleet_provider.compat.calls import dag_files, dag_publishing, metadata_db
from airfleet_provider.scheduler_wakeup.short_path import ShortPath
from scheduling_twins import DAY, make_runs, step

# A Dag whose second task is not plain.
RIVAL = "rival"
Trial = Callable[["Place"], contextlib.AbstractContextManager[None]]


class Place:
    """A run whose first task has succeeded, and a scheduler."""

    def __init__(self, name: str, runner: SchedulerJobRunner) -> None:
        self.name, self.runner, self.is_sent = name, runner, True
        self.path = ShortPath(send=lambda _: self.is_sent, read=lambda _: None)

    def change(self, model: Any, name: str = "", **values: Any) -> None:
        """Change the rows of this run, or of that of another Dag, in a table."""
        with metadata_db.open_session() as session:
            where = [model.dag_id == (name or self.name)]
            if model is TaskInstance:
                where.append(model.task_id == "second")
            session.execute(update(model).where(*where).values(**values))


@contextlib.contextmanager
def hold(statement: str, **values: str) -> Iterator[None]:
    """Keep what a statement locks in another transaction."""
    with metadata_db.open_session() as session:
        session.execute(text(statement), values)
        yield


def lock_run(place: Place) -> contextlib.AbstractContextManager[None]:
    return hold("SELECT 1 FROM dag_run WHERE dag_id = :dag FOR UPDATE", dag=place.name)


def lock_section(place: Place) -> contextlib.AbstractContextManager[None]:
    return hold("SELECT pg_advisory_xact_lock(2)")


@contextlib.contextmanager
def pause(place: Place) -> Iterator[None]:
    place.change(DagModel, is_paused=True)
    yield


@contextlib.contextmanager
def run_late(place: Place) -> Iterator[None]:
    place.change(DagRun, start_date=DAY - timedelta(days=1))
    yield


@contextlib.contextmanager
def run_again(place: Place) -> Iterator[None]:
    place.change(TaskInstance, try_number=1)
    yield


@contextlib.contextmanager
def fill_pool(place: Place) -> Iterator[None]:
    place.change(TaskInstance, pool_slots=501)
    yield


@contextlib.contextmanager
def leave_another(place: Place) -> Iterator[None]:
    """Leave a run to a loop whose task may take the last slot of the pool."""
    with metadata_db.open_session() as session:
        session.add(Pool(pool="narrow", slots=1, include_deferred=False))
    for name in (place.name, RIVAL):
        place.change(TaskInstance, name, pool="narrow")
    assert place.path.step([(RIVAL, "run")]) == {(RIVAL, "run")}
    yield


@contextlib.contextmanager
def publish_another(place: Place) -> Iterator[None]:
    publish(make_dag(place.name, more=True))
    yield


@contextlib.contextmanager
def break_executor(place: Place) -> Iterator[None]:
    def fail(*words: Any, **options: Any) -> None:
        place.runner.executor.queued_tasks["a task"] = None
        raise RuntimeError("no key to sign tokens with")

    place.runner._enqueue_task_instances_with_queued_state = fail
    yield
    del place.runner._enqueue_task_instances_with_queued_state


@contextlib.contextmanager
def break_commit(place: Place) -> Iterator[None]:
    def fail(session: Session) -> None:
        raise ConnectionError("the server has gone")

    event.listen(Session, "before_commit", fail)
    yield
    event.remove(Session, "before_commit", fail)


@contextlib.contextmanager
def break_broker(place: Place) -> Iterator[None]:
    place.is_sent = False
    yield


TRIALS: dict[str, Trial] = {
    "plain": lambda place: contextlib.nullcontext(),
    **{one.__name__: one for one in (lock_run, lock_section, pause, run_late, run_again, fill_pool)},
    **{one.__name__: one for one in (leave_another, publish_another, break_executor, break_commit, break_broker)},
}


def make_dag(name: str, *, more: bool = False) -> DAG:
    with DAG(name, schedule=None, start_date=DAY, dagrun_timeout=timedelta(hours=1)) as dag:
        step("first") >> step("second", "all_done" if name == RIVAL else "all_success") >> step("third")
        if more:
            step("fourth")
    return dag


def publish(dag: DAG) -> None:
    with metadata_db.open_session() as session:
        dag_publishing.write_dags(session, bundle="b", release=None, dags=[dag_files.serialise(dag)[1]], errors={})


def succeed_first(runner: SchedulerJobRunner) -> None:
    with metadata_db.open_session() as session:
        runner._do_scheduling(session)
    runner.executor.queued_tasks.clear()
    with metadata_db.open_session() as session:
        for ti in session.scalars(select(TaskInstance).where(TaskInstance.task_id == "first")):
            assert ti.state == "queued", ti
            ti.state, ti.start_date, ti.end_date = "success", DAY, DAY


def main() -> None:
    make_runs(map(make_dag, (*TRIALS, RIVAL)))
    ExecutorLoader.init_executors()
    runner = SchedulerJobRunner(job=Job(), num_runs=-1)
    with metadata_db.open_session() as session:
        session.add(runner.job)
    succeed_first(runner)
    answer = {}
    for name, trial in TRIALS.items():
        place, run = Place(name, runner), (name, "run")
        place.path.meet(runner)
        with trial(place):
            left = place.path.step([run])
        held = sorted(getattr(key, "task_id", key) for key in runner.executor.queued_tasks)
        runner.executor.queued_tasks.clear()
        with metadata_db.open_session() as session:
            wanted = select(TaskInstance.state).where(TaskInstance.dag_id == name, TaskInstance.task_id == "second")
            state = session.scalar(wanted)
        answer[name] = {"left": run in left, "state": state, "held": held, "errors": list(place.path.counts.slow)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
