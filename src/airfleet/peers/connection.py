"""Connections to a PostgreSQL that somebody else runs, and findings about it."""

from __future__ import annotations

from typing import Any

import psycopg

from airfleet.components.model import OwnDatabase
from airfleet.workspace.diagnosis import Diagnosis, Level

SUBJECT = "database"
CONNECT_S = 10


def connect(database: OwnDatabase, way: int = 0) -> psycopg.Connection:
    """Connect to the metadata database, through a port of this machine that leads there if `way` is not 0.

    Raises:
        psycopg.OperationalError: It does not answer or refuses the login.
    """
    # With both, libpq connects to `hostaddr` and checks the certificate of `host`.
    place: dict[str, Any] = {"hostaddr": "127.0.0.1"} if way else {}
    return psycopg.connect(
        **place,
        host=database.host,
        port=way or database.port,
        dbname=database.name,
        user=database.user,
        password=database.password.reveal(),
        connect_timeout=CONNECT_S,
        autocommit=True,
        **database.tls,  # type: ignore[arg-type]
    )


def ask(connection: psycopg.Connection, query: str, *words: object) -> tuple[Any, ...]:
    """Return the only row of a query."""
    row = connection.execute(query.encode(), words or None).fetchone()
    assert row is not None  # noqa: S101 - each query returns one row
    return tuple(row)


def say(level: Level, what: str, hint: str = "") -> Diagnosis:
    """Return a finding about the database."""
    return Diagnosis(level, SUBJECT, what, hint)
