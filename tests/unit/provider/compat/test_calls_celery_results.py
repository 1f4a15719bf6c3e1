"""How Celery keeps connections to the result database, as the installed one does it."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import Celery
from sqlalchemy.pool import NullPool

from airfleet_provider.compat.calls.celery_results import keep_result_connections


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
