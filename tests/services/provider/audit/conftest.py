"""A real PostgreSQL with airfleet's own tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import servers


@pytest.fixture(scope="package")
def server() -> Iterator[servers.Server]:
    with servers.serve_own() as one:
        yield one


@pytest.fixture
def database(server: servers.Server) -> Iterator[psycopg.Connection[Any]]:
    """A connection to an empty audit log."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE airfleet.audit DISABLE TRIGGER USER")
        connection.execute("TRUNCATE airfleet.audit, airfleet.audit_intent")
        connection.execute("ALTER TABLE airfleet.audit ENABLE TRIGGER USER")
        connection.execute("UPDATE airfleet.audit_head SET number = 0, hash = repeat('0', 64)")
        yield connection
