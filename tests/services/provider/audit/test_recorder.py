"""The thread that writes the audit log, on a real PostgreSQL: broken connections, outages, and bad work."""

from __future__ import annotations

from typing import Any

import psycopg
import psycopg2
import pytest

import servers
from airfleet_provider.audit.recorder import Recorder
from deadline import PATIENCE_S, wait_until


def find_pid(cursor: Any) -> int:  # noqa: ANN401 - psycopg2 has no types
    cursor.execute("SELECT pg_backend_pid()")
    return int(cursor.fetchone()[0])


def fail(cursor: Any) -> None:  # noqa: ANN401 - as above
    cursor.execute("SELECT 1 / 0")


def test_a_connection_that_broke_meanwhile_costs_no_request(server: servers.Server) -> None:
    recorder = Recorder(lambda: psycopg2.connect(server.dsn))
    pid = recorder.submit(find_pid).result(PATIENCE_S)
    with psycopg.connect(server.dsn, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
    assert recorder.submit(find_pid).result(PATIENCE_S) != pid


def test_work_that_fails_costs_no_other(server: servers.Server) -> None:
    recorder = Recorder(lambda: psycopg2.connect(server.dsn))
    futures = [recorder.submit(work) for work in (find_pid, fail, find_pid)]
    assert futures[0].result(PATIENCE_S) == futures[2].result(PATIENCE_S)
    with pytest.raises(psycopg2.errors.DivisionByZero):
        futures[1].result(PATIENCE_S)


def test_what_must_not_be_lost_is_done_when_the_database_is_back(server: servers.Server) -> None:
    places = ["host=127.0.0.1 port=1 connect_timeout=1", server.dsn]
    done: list[int] = []
    recorder = Recorder(lambda: psycopg2.connect(places.pop(0) if len(places) > 1 else places[0]))
    future = recorder.submit(lambda cursor: done.append(find_pid(cursor)), is_kept=True)
    with pytest.raises(psycopg2.OperationalError):
        future.result(PATIENCE_S)
    wait_until(lambda: bool(done), "the work that was kept")
