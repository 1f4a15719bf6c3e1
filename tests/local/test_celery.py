"""`executor: celery` on one machine, with a broker of its own."""

from __future__ import annotations

import json
import os
import signal

import psutil
import psycopg
import pytest

from airfleet.workspace.state_folder import StateFolder
from deadline import wait_until
from fleets import HEALTHY_S, Platform

pytestmark = pytest.mark.local


def read_listeners(pids: set[int]) -> set[str]:
    return {
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.pid in pids and connection.laddr
    }


def connect(folder: StateFolder, role: str, database: str = "airfleet_results") -> psycopg.Connection:
    server = (folder.secrets / "metadata_dsn").read_text().rsplit("@", 1)[1].rsplit("/", 1)[0]
    password = (folder.secrets / f"postgres_results_{role}").read_text()
    return psycopg.connect(f"postgresql://airfleet_results_{role}:{password}@{server}/{database}")


def count_results(folder: StateFolder) -> int:
    with connect(folder, "reader") as connection:
        row = connection.execute("SELECT count(*) FROM airfleet.task_result").fetchone()
    # The logins get no further than that.
    for role in ("reader", "writer"):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            connect(folder, role, "airflow")
    assert row is not None
    return int(row[0])


CRASHES = """
import ctypes
from datetime import timedelta
from airflow.sdk import dag, task
{more}

@dag(schedule=None, catchup=False, is_paused_upon_creation=False)
def {name}():
    @task(retries=1, retry_delay=timedelta(seconds=0))
    def work():
        ctypes.string_at(0)
    work()

{name}()
"""


def read_starts(celery: Platform) -> tuple[int, int]:
    said = json.loads(celery.airfleet("status", "--json").stdout)
    return said["warm_starts"], said["cold_starts"]


def kill_pools(celery: Platform) -> None:
    for process in celery.processes():
        if process.cmdline() and process.cmdline()[0].startswith(("airfleet guard", "airfleet zygote pool")):
            process.kill()


def check_crash(celery: Platform, dag: str) -> None:
    run = celery.trigger(dag)
    assert celery.wait_run(dag, run) == "failed"
    where = f"/dags/{dag}/dagRuns/{run}/taskInstances/work"
    assert celery.call("GET", where)["try_number"] == 2
    said = [line["event"] for line in celery.call("GET", f"{where}/logs/2?full_content=true")["content"]]
    assert any(line.startswith("Killed by SIGSEGV in string_at (") for line in said), said


def test_a_worker_runs_tasks_outlives_kills_and_leaves_nothing(celery: Platform) -> None:
    for name, more in (("warm_crash", ""), ("cold_crash", "AIRFLEET_WARM_START: bool = False")):
        (celery.project / "dags" / f"{name}.py").write_text(CRASHES.format(name=name, more=more))
    assert celery.succeeds("quick")
    assert count_results(celery.state) == 1
    check_crash(celery, "warm_crash")
    assert read_starts(celery) == (3, 0)
    check_crash(celery, "cold_crash")
    assert read_starts(celery) == (3, 2)
    kill_pools(celery)
    assert celery.succeeds("quick")
    assert read_starts(celery) == (4, 2)
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
