"""A platform whose tasks write events of OpenLineage, on a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lineage_platform import TABLES, LineagePlatform, LineageServer
from servers import serve_own


@pytest.fixture(scope="package")
def dsn() -> Iterator[str]:
    with serve_own() as one, psycopg.connect(one.dsn, autocommit=True) as connection:
        for statement in TABLES.split(";"):
            connection.execute(statement)
        yield one.dsn


@pytest.fixture
def platform(dsn: str, tmp_path: Path) -> Iterator[LineagePlatform]:
    with LineageServer() as backend:
        threading.Thread(target=backend.serve_forever, daemon=True).start()
        one = LineagePlatform(dsn, tmp_path / "records", backend)
        one.query("TRUNCATE task_instance, task_instance_history")
        one.query(
            "TRUNCATE airfleet.lineage_event, airfleet.lineage_delivery, airfleet.dataset_use, airfleet.column_use,"
            " airfleet.record_total, airfleet.record_spool"
        )
        yield one
        one.stop()
        backend.shutdown()
