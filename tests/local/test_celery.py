"""`executor: celery` on one machine, with a broker of its own: drained workers, new secrets, kills.

All tests share one platform, because its first start takes half a minute of CPU.
"""

from __future__ import annotations

import configparser
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import amqp
import psutil
import psycopg
import pytest
from sqlalchemy.engine import make_url

from airfleet.errors import AirfleetError
from airfleet.runners.local.rabbitmq import find_programs
from airfleet.workspace.state_folder import StateFolder
from deadline import wait_until
from fleets import Platform, make
from living import read_title, send

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def _celery() -> Iterator[Platform]:
    try:
        find_programs()
    except AirfleetError as error:
        pytest.skip(str(error))
    with make("celery") as platform:
        fleet = platform.project / "fleet.yaml"
        # As its least number of slots is more than it can have, it always has all of them, until a person sets another.
        fleet.write_text(fleet.read_text() + "executor: celery\npools: {default: {scale: {min: 1000}}}\n")
        yield platform


@pytest.fixture
def celery(_celery: Platform) -> Platform:
    """The platform of these tests, with Celery. It is healthy, whatever the last test did to it."""
    if not _celery.is_up():
        _celery.up()
    _celery.wait_healthy()
    return _celery


def look(platform: Platform) -> dict[str, Any]:
    """Return what `airfleet workers list` says of the one worker; {} while it says nothing of it."""
    said = platform.airfleet("workers", "list", "--json", check=False)
    workers = json.loads(said.stdout)["workers"] if said.stdout else []
    return workers[0] if len(workers) == 1 else {}


def wait_listed(platform: Platform) -> None:
    wait_until(
        lambda: look(platform).get("running") == ["slow.work"],
        "the task in the list",
        every_s=0.5,
        seen=lambda: look(platform),
    )


def test_a_drained_worker_finishes_takes_nothing_stays_drained_and_resumes(celery: Platform) -> None:
    slow = celery.hold()
    wait_listed(celery)
    refused = celery.airfleet("workers", "drain", "localhost", "--timeout", "2", check=False)
    assert refused.returncode == 1
    assert "tasks are still running after 2 s" in refused.stderr
    assert "no other worker serves default" in refused.stderr
    assert look(celery).get("state") == "draining"

    quick = celery.trigger("quick")
    celery.release()
    celery.airfleet("workers", "drain", "localhost")
    assert celery.wait_run("slow", slow) == "success"
    assert celery.attempts()[-1] == "done"
    assert len(celery.attempts()) == 2, "it ran once, and to its end"

    old = celery.pid("worker")
    assert old
    os.kill(old, signal.SIGKILL)
    wait_until(
        lambda: look(celery).get("state") == "drained" and celery.pid("worker") not in (None, old),
        "another worker, drained from its start",
        every_s=0.5,
        seen=lambda: (look(celery), celery.describe()),
    )
    celery.wait_healthy()
    assert celery.run_state("quick", quick) in ("queued", "running")
    celery.airfleet("workers", "resume", "default@localhost")
    assert look(celery).get("state") == "serving"
    assert celery.wait_run("quick", quick) == "success"


def test_slots_are_taken_away_and_given_back_while_a_task_runs_to_its_end(celery: Platform) -> None:
    slow = celery.hold()
    wait_listed(celery)
    attempts, every = len(celery.attempts()), look(celery)["slots"]
    assert every > 1
    celery.airfleet("workers", "scale", "default", "1", "--reason", "a test")
    wait_until(lambda: look(celery).get("slots") == 1, "one slot", every_s=0.5, seen=lambda: look(celery))
    assert look(celery)["running"] == ["slow.work"]
    [last] = json.loads(celery.airfleet("scale", "explain", "--last", "1", "--json").stdout)["decisions"]
    assert (last["decision"]["slots"], last["same_again"]) == ({"localhost": 1}, True)
    celery.airfleet("workers", "scale", "default", "auto", "--reason", "the end of a test")
    wait_until(lambda: look(celery).get("slots") == every, "all slots", every_s=0.5, seen=lambda: look(celery))
    celery.release()
    assert celery.wait_run("slow", slow) == "success"
    assert len(celery.attempts()) == attempts + 1, "it ran once, and to its end"


def test_a_name_that_is_nobody_s_is_told_with_those_that_are(celery: Platform) -> None:
    done = celery.airfleet("workers", "drain", "elsewhere", check=False)
    assert done.returncode == 2
    assert "there is no worker 'elsewhere'" in done.stderr
    assert "default@localhost" in done.stderr


def refuses_login(platform: Platform, name: str, password: str, database: str) -> bool:
    dsn = (platform.state.secrets / "metadata_dsn").read_text()
    port = make_url(dsn).port
    try:
        psycopg.connect(
            host="127.0.0.1", port=port, user=name, password=password, dbname=database, connect_timeout=60
        ).close()
    except psycopg.OperationalError as error:
        return "password authentication failed" in str(error)
    return False


def refuses_broker(platform: Platform, password: str) -> bool:
    snapshot = platform.state.read_snapshot()
    assert snapshot
    [url] = [one.url for one in snapshot.processes if one.name == "rabbitmq"]
    address = url.removeprefix("amqp://")
    try:
        with amqp.Connection(
            host=address, userid="publisher", password=password, virtual_host="airflow", login_timeout=60
        ):
            return False
    except amqp.AccessRefused:
        return True


def test_every_secret_of_one_machine_can_be_rotated_at_once(celery: Platform) -> None:
    assert celery.succeeds("reads")
    secrets = celery.state.secrets
    celery.down()
    names = [
        *("admin_password", "postgres_superuser", "postgres_airflow", "postgres_warehouse", "postgres_results_writer"),
        *(
            "fernet_key",
            "jwt_secret",
            "jwt_key",
            "secret_key",
            "broker_publisher",
            "broker_consumer",
            "broker_cookie",
            "signing_key",
        ),
    ]
    former = {name: (secrets / name).read_text() for name in names}
    for name in names:
        (secrets / name).unlink()
    celery.up()
    celery.wait_healthy()
    for name in names:
        assert (secrets / name).read_text() != former[name], name
    assert celery.log_in(former["admin_password"]).status_code == 401
    for login in ("airflow", "warehouse"):
        assert refuses_login(celery, login, former[f"postgres_{login}"], login), login
    former_writer = former["postgres_results_writer"]
    assert refuses_login(celery, "airfleet_results_writer", former_writer, "airfleet_results")
    assert refuses_login(celery, "postgres", former["postgres_superuser"], "postgres")
    assert refuses_broker(celery, former["broker_publisher"])
    # The connections were encrypted with the former key, and now are with the new one.
    assert celery.succeeds("reads")
    celery.down()
    celery.up()
    celery.wait_healthy()
    config = configparser.ConfigParser()
    config.read(celery.state.root / "airflow" / "airflow.cfg")
    assert config["core"]["fernet_key"] == (secrets / "fernet_key").read_text()
    assert celery.succeeds("reads")


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
    said = celery.status()
    return said["warm_starts"], said["cold_starts"]


def kill_pools(celery: Platform) -> None:
    titles = ("airfleet guard", "airfleet zygote pool")
    send([one for one in celery.processes() if read_title(one).startswith(titles)], signal.SIGKILL)


def check_crash(celery: Platform, dag: str) -> None:
    run = celery.trigger(dag)
    assert celery.wait_run(dag, run) == "failed"
    where = f"/dags/{dag}/dagRuns/{run}/taskInstances/work"
    assert celery.call("GET", where)["try_number"] == 2

    def read() -> list[str]:
        return [line["event"] for line in celery.call("GET", f"{where}/logs/2?full_content=true")["content"]]

    wait_until(
        lambda: any(line.startswith("Killed by SIGSEGV in string_at (") for line in read()), "the report", seen=read
    )


def test_a_worker_runs_tasks_outlives_kills_and_leaves_nothing(celery: Platform) -> None:
    for name, more in (("warm_crash", ""), ("cold_crash", "AIRFLEET_WARM_START: bool = False")):
        (celery.project / "dags" / f"{name}.py").write_text(CRASHES.format(name=name, more=more))
    results, (warm, cold) = count_results(celery.state), read_starts(celery)
    assert celery.succeeds("quick")
    # The worker stores the result after the task has told the API that it succeeded.
    wait_until(lambda: count_results(celery.state) > results, "the stored result")
    check_crash(celery, "warm_crash")
    assert read_starts(celery) == (warm + 3, cold)
    check_crash(celery, "cold_crash")
    assert read_starts(celery) == (warm + 3, cold + 2)
    kill_pools(celery)
    assert celery.succeeds("quick")
    assert read_starts(celery) == (warm + 4, cold + 2)
    pids = {process.pid for process in celery.processes()}
    assert read_listeners(pids) <= {"127.0.0.1", "::1"}
    for name in ("rabbitmq", "worker"):
        old = celery.pid(name)
        assert old
        os.kill(old, signal.SIGKILL)
        celery.wait_back(name, old)
        assert celery.succeeds("quick")
    celery.down()
    assert celery.processes() == []
