"""Airflow's own tables, and airfleet's, in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import create_engine

import servers
from airfleet_provider.contract.migrations import runner


@pytest.fixture(scope="package")
def server() -> Iterator[servers.Server]:
    from airflow.models import import_all_models  # noqa: PLC0415 - slow to import
    from airflow.models.base import Base  # noqa: PLC0415

    import_all_models()
    with servers.serve() as one:
        Base.metadata.create_all(create_engine(one.dsn.replace("postgresql:", "postgresql+psycopg2:")))
        with psycopg.connect(one.dsn, autocommit=True) as connection:
            runner.migrate(runner.execute_on(connection), runner.read_own())
        yield one
