"""Connections and sessions with the metadata database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415


def connect(name: str = "airfleet") -> Any:  # noqa: ANN401 - a psycopg2 connection, which has no types
    """A connection of its own to the metadata database, outside every pool, in autocommit mode, under this name."""
    from airflow import settings

    dialect = settings.engine.dialect
    words, options = dialect.create_connect_args(settings.engine.url)
    connection = dialect.loaded_dbapi.connect(*words, **{**options, "application_name": name})
    connection.autocommit = True
    return connection


@contextlib.contextmanager
def open_session() -> Iterator[Any]:
    """A session that commits at the end and rolls back on an error; nobody else in this thread is given it."""
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        yield session
