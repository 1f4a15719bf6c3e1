"""Private functions of Airflow's scheduler: how to prepare it, run it, and name its database connections."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def runs_tasks_itself() -> bool:
    """Return whether tasks are child processes of the scheduler and end with it, as with LocalExecutor."""
    from airflow.executors.executor_loader import ExecutorLoader

    names = ExecutorLoader.get_executor_names()
    return any(ExecutorLoader.import_executor_cls(name)[0].is_local for name in names)


def prepare_scheduler() -> None:
    """Do everything that a scheduler does before its first loop and that changes nothing.

    Raises:
        SystemExit: The database has another schema.
    """
    from airflow import settings
    from airflow.cli.commands import scheduler_command
    from airflow.executors.executor_loader import ExecutorLoader
    from airflow.jobs import scheduler_job_runner
    from airflow.listeners.listener import get_listener_manager
    from airflow.providers_manager import ProvidersManager
    from airflow.utils.db import check_and_run_migrations

    assert scheduler_command and scheduler_job_runner  # noqa: S101 - only their import is needed
    ProvidersManager().initialize_providers_configuration()
    check_and_run_migrations()
    ExecutorLoader.init_executors()
    get_listener_manager()
    _compile_statements(settings.Session)


def run_scheduler() -> None:
    """Run `airflow scheduler --skip-serve-logs` in a prepared process, without its command line and its checks."""
    from airflow.cli.commands.scheduler_command import _run_scheduler_job

    _run_scheduler_job(Namespace(num_runs=-1, only_idle=False, skip_serve_logs=True))


def guard_connections(name: str, check: Callable[[Any], None]) -> None:
    """Give every connection of this process's pool this name, and check each connection before its use."""
    from airflow import settings
    from sqlalchemy import event

    def name_it(dialect: object, record: object, words: object, options: dict[str, Any]) -> None:
        options["application_name"] = name

    settings.engine.dispose()
    event.listen(settings.engine, "do_connect", name_it)
    event.listen(settings.engine, "connect", lambda connection, _: check(connection))


def _compile_statements(make_session: Callable[[], Any]) -> None:
    """Let SQLAlchemy load all models once. Most of the time of a first query is spent on that."""
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.models.pool import Pool
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    with make_session() as session:
        for model in (DagModel, DagRun, TaskInstance, Pool):
            session.scalars(select(model).limit(1)).first()
        session.rollback()
