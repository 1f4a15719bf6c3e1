"""`airfleet dag test` without a platform: a real Airflow in a process of its own, and what is left of it."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from airfleet.components import image
from airfleet.runners.local import inherited
from airfleet.workspace import file_lock
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract.fork_protocol import COMMANDS, WARM
from deadline import COMMAND_S, wait_until

DAG = """
import os

from beside import NOTE
from include.deep import DEPTH
from airflow.sdk import Connection, Variable, dag, task


@dag(schedule=None, params={"limit": 5})
def sales():
    @task
    def load():
        print("loads from", Connection.get("crm").host, "for", Variable.get("region"))
        print(NOTE, DEPTH)
        print("knows", sorted(name for name in os.environ if name.startswith("AIRFLEET_DAG")))
        return [1, 2]

    @task(retries=3)
    def double(number, **context):
        if number > context["params"]["limit"]:
            raise ValueError(f"{number} is too many")
        return 2 * number

    double.expand(number=load())


sales()
"""
FLEET = """
connections: {crm: {type: http, host: crm.example.com, password: {env: NOWHERE_TO_BE_FOUND}}}
variables: {region: north}
"""


# The airflow.cfg of a platform whose database nobody reaches.
PLATFORM = """
[database]
sql_alchemy_conn = postgresql+psycopg2://airflow:of-the-platform@127.0.0.1:9/airflow
[core]
fernet_key = ZmFrZSBmYWtlIGZha2UgZmFrZSBmYWtlIGZha2UgZmE=
[airfleet]
marker = of-the-platform
"""
CURIOUS = """
from airflow.configuration import conf
from airflow.sdk import dag, task
from include.deep import DEPTH
from airflow.sdk.configuration import conf as task_conf


@dag(schedule=None)
def curious():
    @task
    def look():
        import sys

        from airflow import settings
        from airflow.api_fastapi.execution_api.versions import bundle

        for one in (conf, task_conf):
            print("knows", one.get("airfleet", "marker", fallback="nothing"))
            print("has the key", one.get("core", "fernet_key", fallback=""))
        print("connects to", settings.SQL_ALCHEMY_CONN, settings.SQL_ALCHEMY_CONN_ASYNC)
        print("runs as", sys.argv[0])
        for name in [one for one in sys.modules if one.startswith("airflow")]:
            for key, value in list(vars(sys.modules[name]).items()):
                if isinstance(value, str) and any(one in value for one in ("of-the-platform", "/.airfleet/airflow")):
                    print("still has", name, key)
        for section, key in (("core", "plugins_folder"), ("fab", "config_file")):
            for one in (conf, task_conf):
                print("looks at", one.get(section, key, fallback=""))
        print("versions of the execution API:", len(bundle.versions))

    look()


curious()
"""


@pytest.fixture(scope="module")
def project() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="airfleet-test-") as name:
        (Path(name) / "dags").mkdir()
        (Path(name) / "dags" / "sales.py").write_text(DAG)
        (Path(name) / "dags" / "beside.py").write_text("NOTE = 'beside the file'\n")
        (Path(name) / "include").mkdir()
        (Path(name) / "include" / "deep.py").write_text("DEPTH = 'and in the project'\n")
        (Path(name) / "dags" / "broken.py").write_text("from airflow.sdk import DAG\nimport not_there\n")
        (Path(name) / "fleet.yaml").write_text(FLEET)
        yield Path(name)


def run_test(project: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    runs = project / ".airfleet" / "dag_tests" / "runs"
    (runs / "of-a-killed-command").mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "airfleet", "dag", "test", *words],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_S,
    )
    assert list(runs.iterdir()) == [], "what a test left behind"
    return done


def test_a_dag_runs_with_its_conf_and_the_connections_of_fleet_yaml_and_leaves_no_run(project: Path) -> None:
    passed = run_test(project, "sales", NOWHERE_TO_BE_FOUND="hush")
    assert passed.returncode == 0, passed.stderr
    assert "loads from crm.example.com for north" in passed.stdout
    assert "knows []" in passed.stdout
    assert "beside the file and in the project" in passed.stdout
    assert "double[1] success" in passed.stderr
    assert "sales: success" in passed.stderr
    failed = run_test(project, "sales", "--conf", '{"limit": 1}', "--json", NOWHERE_TO_BE_FOUND="hush")
    assert failed.returncode == 1, failed.stderr
    told = json.loads(failed.stdout)
    assert (told["dag"], told["state"]) == ("sales", "failed")
    states = {(one["task"], one["map_index"]): one["state"] for one in told["tasks"]}
    assert states == {("load", -1): "success", ("double", 0): "success", ("double", 1): "failed"}
    assert "2 is too many" in failed.stderr, "the error of the task"
    assert "hush" not in passed.stdout + passed.stderr + failed.stdout + failed.stderr
    (template,) = (project / ".airfleet" / "dag_tests").glob("*.db")
    with closing(sqlite3.connect(template)) as database:
        assert database.execute("SELECT count(*) FROM dag_run").fetchone() == (0,)
        assert database.execute("SELECT count(*) FROM dag").fetchone() == (0,)


def test_without_the_dag_there_is_no_run_and_files_that_do_not_load_are_named(project: Path) -> None:
    done = run_test(project, "sale")
    assert done.returncode == 2
    assert "no Dag sale in" in done.stderr
    assert "sales" in done.stderr.partition("hint: there are ")[2]
    assert "No module named 'not_there'" in done.stderr
    assert "NOWHERE_TO_BE_FOUND" in done.stderr, "the connection that cannot be had"
    assert "Traceback" not in done.stderr


@pytest.fixture
def warm(project: Path) -> Iterator[Path]:
    """The project, and the process of its platform from which commands are forked; the rest of the platform is away."""
    state = StateFolder(project / ".airfleet")
    home = state.root / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    (home / "airflow.cfg").write_text(PLATFORM)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, (state.root / "lock").open("w") as lock:
        file_lock.take(lock.fileno())
        command = [sys.executable, "-m", "airfleet_provider.processes.fork_server", *image.MODULES]
        process = subprocess.Popen(
            [*command, str(theirs.fileno())],
            env=inherited.build_environment(dict(os.environ), {}, project, state.root, importable=False),
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        try:
            ours.settimeout(COMMAND_S)
            assert ours.recv(64) == WARM
            yield project
        finally:
            ours.close()
            process.wait(COMMAND_S)
            (home / COMMANDS).unlink()


def test_a_test_in_a_fork_of_the_platform_knows_nothing_of_the_platform(warm: Path) -> None:
    (warm / "dags" / "curious.py").write_text(CURIOUS)

    def run_in_time() -> subprocess.CompletedProcess[str] | None:
        # On a busy machine the process may answer too late, and the test starts without it.
        done = run_test(warm, "curious", NOWHERE_TO_BE_FOUND="hush")
        return None if "has not answered" in done.stderr else done

    done = wait_until(run_in_time, "a test in a fork")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of-the-platform" not in done.stdout + done.stderr
    assert done.stdout.count("knows nothing") == 2
    assert "ZmFrZSB" not in done.stdout
    assert "still has" not in done.stdout
    assert "/.airfleet/airflow" not in done.stdout, "the files of the platform"
    assert "/airflow/plugins\n" in done.stdout
    assert "connects to sqlite:///" in done.stdout
    assert "runs as airflow\n" in done.stdout, "a new process has the path of a file there"
    assert "versions of the execution API: 1\n" in done.stdout, "the others would take longer than the whole test"
