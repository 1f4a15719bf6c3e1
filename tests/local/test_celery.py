"""`executor: celery` on one machine, with a broker of its own."""

from __future__ import annotations

import os
import signal

import psutil
import psycopg
import pytest

from airfleet.runners.local.state import StateFolder
from deadline import wait_until
from fleets import HEALTHY_S, Platform

pytestmark = pytest.mark.local


def read_listeners(pids: set[int]) -> set[str]:
    return {
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.pid in pids and connection.laddr
    }


def count_results(folder: StateFolder) -> int:
    dsn = (folder.secrets / "metadata_dsn").read_text()
    password = (folder.secrets / "postgres_celery").read_text()
    server = dsn.rsplit("@", 1)[1].rsplit("/", 1)[0]
    with psycopg.connect(f"postgresql://celery:{password}@{server}/celery") as connection:
        row = connection.execute("SELECT count(*) FROM celery_taskmeta").fetchone()
    # The role that workers use gets no further than that.
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(f"postgresql://celery:{password}@{server}/airflow")
    assert row is not None
    return int(row[0])


def test_a_worker_runs_tasks_outlives_kills_and_leaves_nothing(celery: Platform) -> None:
    assert celery.succeeds("quick")
    assert count_results(celery.state) == 1
    pids = {process.pid for process in celery.processes()}
    assert read_listeners(pids) <= {"127.0.0.1", "::1"}
    for name in ("rabbitmq", "worker"):
        old = celery.pid(name)
        assert old
        os.kill(old, signal.SIGKILL)
        wait_until(
            lambda: celery.is_healthy() and celery.pid(name) not in (None, old),  # noqa: B023 - awaited here
            f"{name} again",
            timeout_s=HEALTHY_S,
        )
        assert celery.succeeds("quick")
    celery.down()
    assert celery.processes() == []
