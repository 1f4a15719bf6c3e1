"""What the scheduler leaves out of a loop is, in the installed Airflow, what it is taken for."""

from __future__ import annotations

import inspect
from typing import Any

from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagrun import DagRun
from airflow.providers.celery.executors.celery_executor import CeleryExecutor
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select
from sqlalchemy.dialects import postgresql

from airfleet_provider.compat.patches import incremental_scheduling
from airfleet_provider.scheduler_wakeup.change_queue import RUNS_AT_ONCE


def test_what_is_left_out_gives_nothing_back_that_is_used() -> None:
    loops = inspect.getsource(SchedulerJobRunner._do_scheduling) + inspect.getsource(
        SchedulerJobRunner._run_scheduler_loop
    )
    for name in incremental_scheduling.LEFT_OUT:
        lines = [line.strip() for line in loops.splitlines() if f"self.{name}(" in line]
        assert len(lines) == 1
        assert lines[0].startswith(f"self.{name}(")


def test_a_narrowed_session_finds_these_dag_runs_only() -> None:
    class Session:
        is_active = True

        def scalars(self, query: Any) -> str:  # noqa: ANN401 - a select
            return str(query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))

    narrowed = incremental_scheduling.NarrowedLoop(Session(), [("sales", "a"), ("sales", "b")])
    sql = narrowed.scalars(select(DagRun.id).where(DagRun.state == "running").limit(20))
    assert "(dag_run.dag_id, dag_run.run_id) IN (('sales', 'a'), ('sales', 'b'))" in sql
    assert sql.index(" IN ") < sql.index("LIMIT")
    assert narrowed.is_active


def test_as_many_runs_are_chosen_as_airflow_looks_at() -> None:
    assert RUNS_AT_ONCE == DagRun.DEFAULT_DAGRUNS_TO_EXAMINE


def test_reports_that_are_passed_over_are_about_no_state_that_a_report_changes() -> None:
    changed = {"scheduled", "queued", "running", "restarting"}
    assert not changed & set(incremental_scheduling.ENDED)
    assert set(incremental_scheduling.ENDED) <= {state.value for state in TaskInstanceState}


def test_celery_sends_a_task_under_the_id_that_was_written_when_it_was_queued() -> None:
    assert CeleryExecutor.pre_assigns_external_executor_id
    sending = inspect.getsource(CeleryExecutor._send_workloads)
    assert "self.event_buffer[key] = (TaskInstanceState.QUEUED, result.task_id)" in sending
