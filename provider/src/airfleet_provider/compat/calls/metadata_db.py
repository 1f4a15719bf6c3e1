"""Connections and sessions to the metadata database."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

# A statement that came so often will come again.
PREPARED_AFTER = 2


def connect(name: str = "airfleet") -> Any:  # noqa: ANN401 - a psycopg2 connection, which has no types
    """Open a connection to the metadata database outside of every pool, in autocommit mode, with this name."""
    from airflow import settings

    dialect = settings.engine.dialect
    words, options = dialect.create_connect_args(settings.engine.url)
    connection = dialect.loaded_dbapi.connect(*words, **{**options, "application_name": name})
    connection.autocommit = True
    return connection


def answers() -> bool:
    """Return whether the metadata database accepts a connection now."""
    from airflow import settings

    try:
        connect().close()
    except settings.engine.dialect.loaded_dbapi.Error:
        return False
    return True


def query_with(connection: Any) -> Callable[[str], Sequence[Sequence[Any]]]:  # noqa: ANN401 - a psycopg2 connection
    """Return a function that runs a statement on a connection and returns all its rows."""

    def query(statement: str) -> Sequence[Sequence[Any]]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            found: Sequence[Sequence[Any]] = cursor.fetchall()
            return found

    return query


def read_conninfo() -> str:
    """How libpq connects to the metadata database; holds the password."""
    from airflow import settings

    dialect = settings.engine.dialect
    words, options = dialect.create_connect_args(settings.engine.url)
    if words:  # the driver got a connection string as it is
        return str(words[0])
    named = {key: value for key, value in options.items() if isinstance(value, str | int)}
    return str(dialect.loaded_dbapi.extensions.make_dsn(**named))


def connect_prepared(name: str = "airfleet", *, sessions: str | None = None) -> Any:  # noqa: ANN401 - see below
    """Open a connection like that of `connect`, at which the server keeps the plans of statements that come again.

    It is one of psycopg 3, whose rows are dicts. No statement is prepared through a pooler, which may pass the next one
    to another connection of the server, where another client's statement has the same name. A pooler answers with a
    process id of its own. `sessions` is the name under which a pooler keeps one connection of the server for each
    client; there, statements are prepared.
    """
    import psycopg
    from psycopg.conninfo import make_conninfo
    from psycopg.rows import dict_row

    conninfo = make_conninfo(read_conninfo(), dbname=sessions) if sessions else read_conninfo()
    connection = psycopg.connect(
        conninfo, application_name=name, autocommit=True, prepare_threshold=None, row_factory=dict_row
    )
    if sessions or _is_direct(connection):
        connection.prepare_threshold = PREPARED_AFTER
    return connection


def _is_direct(connection: Any) -> bool:  # noqa: ANN401 - as above
    answer = connection.execute("SELECT pg_backend_pid() AS pid").fetchone()
    return answer is not None and answer["pid"] == connection.info.backend_pid


@contextlib.contextmanager
def open_session() -> Iterator[Any]:
    """Yield a session that commits at the end and rolls back on an error. No other code of this thread gets it."""
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        yield session


@contextlib.contextmanager
def open_snapshot(*, timeout_ms: int = 5000) -> Iterator[Callable[[str, Mapping[str, Any]], list[dict[str, Any]]]]:
    """Yield a function that runs a statement with its parameters and returns the rows by column name.

    All that it reads is of one moment, and it can only read. The connection is one of Airflow's pool. A statement that
    takes longer than `timeout_ms` fails.
    """
    from airflow import settings

    with settings.engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(timeout_ms)}")

        def query(statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.exec_driver_sql(statement, dict(values)).mappings()]

        yield query


def query_in(session: Any) -> Callable[[str, Mapping[str, Any]], list[dict[str, Any]]]:  # noqa: ANN401 - a session
    """Return a function that runs a statement in the transaction of a session and returns the rows by column name."""

    def query(statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [dict(row) for row in session.connection().exec_driver_sql(statement, dict(values)).mappings()]

    return query
