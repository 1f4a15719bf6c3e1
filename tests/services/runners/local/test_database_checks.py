"""The checks of a platform's database go through one connection, which may end at any time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from airfleet.components.health import HeartbeatCheck
from airfleet.runners.local.checks import Checker
from airfleet.spec.secrets import Secret
from deadline import PATIENCE_S, wait_until
from servers import Server, serve_own

OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE client_port > 0 AND pid <> pg_backend_pid()"
KEPT = "SELECT pid FROM pg_stat_activity WHERE client_port > 0 AND pid <> pg_backend_pid()"
JOBS = "CREATE TABLE job (id int, job_type text, state text, start_date timestamptz, latest_heartbeat timestamptz)"
BEAT = "INSERT INTO job VALUES (1, 'SchedulerJob', 'running', now(), clock_timestamp())"
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_port > 0 AND pid <> pg_backend_pid()"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_own() as made:
        with psycopg.connect(made.dsn, autocommit=True) as connection:
            connection.execute(JOBS)
            connection.execute(BEAT)
        yield made


def test_threads_share_one_connection(server: Server) -> None:
    checker = Checker(Secret(server.dsn))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: checker.check(HeartbeatCheck("SchedulerJob", 3600), started=0.0), range(20)))
    assert all(result.healthy for result in found)
    with psycopg.connect(server.dsn) as connection:
        assert connection.execute(OTHERS).fetchone() == (1,)
        connection.execute(END)


def test_a_check_after_the_connection_was_ended_says_what_is(server: Server) -> None:
    checker = Checker(Secret(server.dsn))
    checker.note_done("metadata", "first")
    with psycopg.connect(server.dsn) as connection:
        connection.execute(END)
    assert checker.was_done("metadata", "first")
    server.stop()
    result = checker.check(HeartbeatCheck("SchedulerJob"), started=0.0)
    assert (result.healthy, result.conclusive) == (False, False)
    assert not checker.was_done("metadata", "first")
    server.start()
    assert checker.was_done("metadata", "first")


def test_a_session_that_hangs_keeps_neither_the_supervisor_nor_other_checks(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airfleet.runners.local.checks.TIMEOUT_S", 1)
    with psycopg.connect(server.dsn) as connection:
        connection.execute(END)
    checker = Checker(Secret(server.dsn))
    beat = HeartbeatCheck("SchedulerJob", 3600)
    assert checker.check(beat, started=0.0).healthy
    with psycopg.connect(server.dsn, autocommit=True) as connection, ThreadPoolExecutor(2) as pool:
        [(kept,)] = connection.execute(KEPT).fetchall()
        os.kill(kept, signal.SIGSTOP)
        try:
            waiting = pool.submit(checker.check, beat, started=0.0)
            wait_until(checker._lock.locked, "a check that waits for the server")
            checker.note_done("metadata", "other")
            assert checker.was_done("metadata", "other")
            assert pool.submit(checker.check, beat, started=0.0).result(PATIENCE_S).healthy
            assert not waiting.done()
        finally:
            os.kill(kept, signal.SIGCONT)
        assert waiting.result(PATIENCE_S).healthy
