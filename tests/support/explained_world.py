"""A platform with a real database and Airflow's scheduler, which runs loop by loop, for explanations of its states."""

from __future__ import annotations

# Airflow has no types.
# ruff: noqa: ANN401
import os
import re
from datetime import datetime, timedelta
from typing import Any

import psycopg
from airflow import settings
from airflow.executors.executor_loader import ExecutorLoader
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models import DagModel, TaskInstance, import_all_models
from airflow.models.base import Base
from airflow.models.dagbag import DBDagBag
from airflow.models.dagbundle import DagBundleModel
from airflow.models.pool import Pool
from airflow.models.tasklog import LogTemplate
from airflow.sdk import DAG
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from psycopg.rows import dict_row
from sqlalchemy import select, update

import scheduling_twins as twins
from airfleet_provider.compat.calls import dag_files, dag_publishing, metadata_db
from airfleet_provider.contract.explanation import reading
from airfleet_provider.contract.migrations import runner as migrations

BUNDLE = "b"
DAY = twins.DAY


class World:
    """An empty platform with Airflow's scheduler, whose executor takes tasks and never runs one.

    If `is_watched`, the plan of every statement of an explanation is read too, which takes as long as the statement.
    """

    def __init__(self, dags: list[DAG], *, is_watched: bool = False) -> None:
        import_all_models()
        Base.metadata.create_all(settings.engine)
        url = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")
        self.has_looped = False
        self.ask = self.query_watched if is_watched else self.query
        self.scans: list[str] = []
        self.statements: set[str] = set()
        self.connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        with psycopg.connect(url, autocommit=True) as plain:
            own = migrations.read_own()
            migrations.migrate(
                migrations.execute_on(plain), own, kinds=(migrations.MigrationKind.PRE, migrations.MigrationKind.POST)
            )
        with metadata_db.open_session() as session:
            session.add(DagBundleModel(name=BUNDLE))
            session.add(LogTemplate(filename="f", elasticsearch_id="e"))
            session.add(Pool(pool="default_pool", slots=500, include_deferred=False))
            session.add(Pool(pool="slow", slots=2, include_deferred=False))
        made = [dag_files.serialise(dag)[1] for dag in dags]
        with metadata_db.open_session() as session:
            dag_publishing.write_dags(session, bundle=BUNDLE, release=None, dags=made, errors={})
        with metadata_db.open_session() as session:
            session.execute(update(DagModel).values(is_paused=False))
        ExecutorLoader.init_executors()
        self.runner = SchedulerJobRunner(job=Job(), num_runs=-1)
        with metadata_db.open_session() as session:
            self.runner.job.state = "running"
            self.runner.job.job_type = "SchedulerJob"
            session.add(self.runner.job)

    def query(self, sql: Any, parameters: Any) -> Any:
        return self.connection.execute(sql, parameters).fetchall()

    def query_watched(self, sql: Any, parameters: Any) -> Any:
        """Run a statement, and note it if no index leads to its rows of a table that grows with the history."""
        cursor = psycopg.ClientCursor(self.connection)
        cursor.execute("SET enable_seqscan = off")
        plan = "\n".join(row["QUERY PLAN"] for row in cursor.execute("EXPLAIN " + sql, parameters).fetchall())
        cursor.execute("RESET enable_seqscan")
        self.statements.add(sql)
        if re.search(r"Seq Scan on (task_instance|dag_run|log)\b", plan):
            self.scans.append(sql)
        return self.query(sql, parameters)

    def execute(self, sql: str, **words: Any) -> None:
        self.connection.execute(sql, words)

    def create_run(
        self, dag_id: str, run: str = "run", *, day: int = 0, after: datetime = DAY, logical: datetime | None = None
    ) -> None:
        with metadata_db.open_session() as session:
            dag = DBDagBag().get_latest_version_of_dag(dag_id, session=session)
            date = logical or DAY + timedelta(days=day)
            dag.create_dagrun(
                run_id=run,
                logical_date=date,
                data_interval=(date, date),
                run_after=after,
                run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.TEST,
                state=DagRunState.QUEUED,
                session=session,
            )

    def loop(self, times: int = 1) -> None:
        self.has_looped = True
        for _ in range(times):
            self.beat()
            with metadata_db.open_session() as session:
                self.runner._do_scheduling(session)
                session.expunge_all()
            for executor in self.runner.executors:
                executor.queued_tasks.clear()

    def beat(self, job_type: str = "SchedulerJob") -> None:
        self.execute("UPDATE job SET latest_heartbeat = clock_timestamp() WHERE job_type = %(type)s", type=job_type)

    def read(self, *words: Any, **options: Any) -> Any:
        subject = reading.resolve(self.ask, *words, *[None] * (3 - len(words)))
        return reading.read(self.ask, subject, **options)

    def read_alive(self, *words: Any, **options: Any) -> Any:
        """Read as `read`, with a scheduler that has just reported, if one ever has.

        A busy machine may have taken longer since the last loop than a scheduler may be silent.
        """
        if self.has_looped:
            self.beat()
        return self.read(*words, **options)

    def states(self) -> dict[tuple[str, str, int], str]:
        with metadata_db.open_session() as session:
            rows = session.execute(
                select(TaskInstance.dag_id, TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state)
            )
            return {(dag, name, index): state or "none" for dag, name, index, state in rows}
