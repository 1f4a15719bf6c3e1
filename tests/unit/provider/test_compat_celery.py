"""How Celery keeps connections to the result database, as the installed one does it."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import Celery
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from airfleet_provider.compat.celery import keep_result_connections
from airfleet_provider.executors.results import PatientBackend


@pytest.fixture
def app(tmp_path: Path) -> Celery:
    return Celery(backend=f"db+sqlite:///{tmp_path}/results.db")


def list_pools(app: Celery) -> list[object]:
    return [app.backend.ResultSession().get_bind().pool for _ in range(2)]


def test_celery_makes_a_connection_for_each_result(app: Celery) -> None:
    assert all(isinstance(pool, NullPool) for pool in list_pools(app))


def test_a_process_keeps_its_connection(app: Celery) -> None:
    keep_result_connections(app)
    first, second = list_pools(app)
    assert first is second
    assert not isinstance(first, NullPool)


def test_a_backend_that_is_no_database_is_left_alone() -> None:
    keep_result_connections(Celery(backend="cache+memory://"))


def test_a_result_is_one_statement_and_the_last_one_counts(tmp_path: Path) -> None:
    backend = PatientBackend(app=Celery(), dburi=f"sqlite:///{tmp_path}/results.db")
    backend.get_task_meta("one")  # makes the tables
    said: list[str] = []

    def hear(_: object, __: object, statement: str, *___: object) -> None:
        said.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        backend.store_result("one", None, "STARTED")
        backend.mark_as_done("one", {"exit": 0})
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
    assert [statement.split()[0] for statement in said] == ["INSERT", "INSERT"]
    found = backend.get_task_meta("one", cache=False)
    assert (found["status"], found["result"]) == ("SUCCESS", {"exit": 0})
    assert found["date_done"] is not None


def test_a_failure_is_told_with_its_traceback(tmp_path: Path) -> None:
    backend = PatientBackend(app=Celery(), dburi=f"sqlite:///{tmp_path}/results.db")
    backend.mark_as_failure("one", ValueError("no"), traceback="where")
    found = backend.get_task_meta("one", cache=False)
    assert (found["status"], str(found["result"]), found["traceback"]) == ("FAILURE", "no", "where")
