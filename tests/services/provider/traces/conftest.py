"""The loop that sends traces, on a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from airfleet_provider.traces import store
from servers import serve_own
from trace_agents import TABLES, Agents, CollectorServer, TraceTables


@pytest.fixture(scope="module")
def database() -> Iterator[TraceTables]:
    with serve_own() as one:
        tables = TraceTables(one.dsn)
        for statement in TABLES.split(";"):
            tables.query(statement)
        yield tables


@pytest.fixture
def server(database: TraceTables, monkeypatch: pytest.MonkeyPatch) -> TraceTables:
    monkeypatch.setattr(store, "SETTLED_S", -1.0)
    database.query("TRUNCATE dag_run, task_instance, task_instance_history, task_reschedule, log RESTART IDENTITY")
    database.query("TRUNCATE airfleet.traced_run, airfleet.trace_total")
    database.query("DELETE FROM airfleet.watermark")
    return database


@pytest.fixture
def collector() -> Iterator[CollectorServer]:
    with CollectorServer() as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.trickles.clear()
        one.shutdown()


@pytest.fixture
def agents(server: TraceTables, collector: CollectorServer) -> Iterator[Agents]:
    one = Agents(server, collector)
    one.turn()
    yield one
    one.stop()
