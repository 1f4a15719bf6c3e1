"""The names of Airflow's that the guardian of a scheduler relies on, as the installed Airflow has them."""

from __future__ import annotations

import inspect
from argparse import Namespace

from airflow.cli import cli_parser
from airflow.cli.commands import scheduler_command
from airflow.executors.executor_loader import ExecutorLoader
from airflow.executors.local_executor import LocalExecutor
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.utils import db

from airfleet_provider.compat.calls import scheduler


def test_a_scheduler_runs_from_the_arguments_that_it_is_given() -> None:
    source = inspect.getsource(scheduler_command._run_scheduler_job)
    given = Namespace(num_runs=-1, only_idle=False, skip_serve_logs=True)
    asked = {word for word in ("num_runs", "only_idle", "skip_serve_logs") if f"args.{word}" in source}
    assert asked == set(vars(given))
    assert source.count("args.") == len(asked)
    parsed = vars(cli_parser.get_parser().parse_args(["scheduler", "--skip-serve-logs"]))
    assert {key: parsed[key] for key in vars(given)} == vars(given)


def test_what_is_done_ahead_is_there() -> None:
    assert inspect.signature(ExecutorLoader.init_executors).bind()
    assert inspect.signature(ExecutorLoader.get_executor_names).bind()
    assert inspect.signature(db.check_and_run_migrations).bind()
    assert LocalExecutor.is_local


def test_the_first_loop_adopts_what_a_retired_job_had_queued() -> None:
    assert SchedulerJobRunner.job_type == "SchedulerJob"
    assert "adopt_or_reset_orphaned_tasks()" in inspect.getsource(SchedulerJobRunner._run_scheduler_loop)
    assert "is_distinct_from(JobState.RUNNING)" in inspect.getsource(SchedulerJobRunner.adopt_or_reset_orphaned_tasks)
    assert {"job_type", "state", "latest_heartbeat", "end_date", "start_date"} <= set(Job.__table__.columns.keys())


def test_every_use_is_named_here() -> None:
    public = {name for name, one in vars(scheduler).items() if inspect.isfunction(one) and not name.startswith("_")}
    assert public == {"runs_tasks_itself", "prepare_scheduler", "run_scheduler", "guard_connections"}
