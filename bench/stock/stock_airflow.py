"""Stock Airflow in its own environment, with Airflow's documented defaults. Each component is a process."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from airfleet.runners.local import launch, processes
from stock import broker, project
from stock.crew import Crew, find_ports, gather, say, wait
from stock.metadata import Metadata
from stock.ratios import STOCK
from stock.rest import Rest, is_healthy
from stock.system import FLIGHTS, REPOSITORY, TOOLS, Plan, System

AIRFLOW = "3.3.2"
VENV = TOOLS / "stock"
CONSTRAINTS = REPOSITORY / "constraints" / f"airflow-{AIRFLOW}.txt"
# The packages that Airflow's documentation names for Celery on PostgreSQL, and those that the flights project needs.
REQUIREMENTS = (f"apache-airflow[celery,postgres]=={AIRFLOW}",)


def build() -> Path:
    """Return the Python of an environment with stock Airflow. It is made again when its locks change."""
    python, stamp = VENV / "bin" / "python", VENV / "stamp"
    want = CONSTRAINTS.read_text() + (FLIGHTS / "requirements.txt").read_text()
    if stamp.exists() and stamp.read_text() == want:
        return python
    say(f"installing stock Airflow {AIRFLOW} into {VENV.relative_to(REPOSITORY)}")
    uv = str(Path(sys.executable).parent / "uv")
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    install = [uv, "pip", "install", "--quiet", "--python", str(python), "--compile-bytecode"]
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)],
        [*install, *REQUIREMENTS, "--constraint", str(CONSTRAINTS)],
        [*install, "--no-deps", "--require-hashes", "--requirement", str(FLIGHTS / "requirements.txt")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    stamp.write_text(want)
    return python


@contextmanager
def run(folder: Path, plan: Plan) -> Iterator[System]:
    """Run stock Airflow with its whole state in a folder, and yield it when it is healthy."""
    python = build()
    logs, home, code = folder / "logs", folder / "airflow", folder / "project"
    for path in (logs, home):
        path.mkdir()
    project.make(code, plan)
    api, triggerer_logs, worker_logs = find_ports(3)
    url = f"http://127.0.0.1:{api}"
    with gather(logs) as crew:
        server = _start_postgres(crew, folder / "postgres", plan)
        dsn = server.replace("/postgres?", "/airflow?")
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "AIRFLEET"))},
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(code),
            "AIRFLEET_STATE": str(folder),  # the folder of the flights project's files
            **_configure(home, code, dsn, url, plan, triggerer_logs=triggerer_logs, worker_logs=worker_logs),
        }
        if plan.executor == "celery":
            environment["AIRFLOW__CELERY__BROKER_URL"] = broker.start(crew, folder / "rabbitmq")
        airflow = [str(python), "-m", "airflow"]
        crew.run("migrate", [*airflow, "db", "migrate"], environment)
        if "real" in plan.workloads:
            _prepare_flights(crew, airflow, environment, folder, server)
        password = secrets.token_urlsafe(16)
        file = home / "simple_auth_manager_passwords.json.generated"
        file.write_text(json.dumps({"admin": password}))
        for component in ("api-server", "scheduler", "dag-processor", "triggerer"):
            crew.start(component, [*airflow, component], environment)
        if plan.executor == "celery":
            crew.start("worker", [*airflow, "celery", "worker"], environment)
        wait(lambda: is_healthy(url), "stock Airflow to be healthy", crew=crew)
        if plan.executor == "celery":
            wait(lambda: "ready." in (logs / "worker.log").read_text(errors="replace"), "the worker", crew=crew)
        metadata, rest = Metadata(dsn, server), Rest(url, "admin", password)
        try:
            yield System(STOCK, plan, crew, folder, rest, metadata, lambda: crew.pids)
        finally:
            metadata.close()
            rest.close()


def _configure(
    home: Path, code: Path, dsn: str, url: str, plan: Plan, *, triggerer_logs: int, worker_logs: int
) -> dict[str, str]:
    """Return its settings: paths, shared secrets, and the number of slots. All others are the defaults."""
    settings = {
        "CORE__EXECUTOR": {"celery": "CeleryExecutor", "local": "LocalExecutor"}[plan.executor],
        "CORE__DAGS_FOLDER": str(code / "dags"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "DATABASE__SQL_ALCHEMY_CONN": dsn.replace("postgresql://", "postgresql+psycopg2://"),
        "API__PORT": url.rsplit(":", 1)[1],
        "API__HOST": "127.0.0.1",
        "API__SECRET_KEY": secrets.token_urlsafe(24),
        "API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(triggerer_logs),
        "LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
    }
    if plan.executor == "celery":
        settings["CELERY__WORKER_CONCURRENCY"] = str(plan.slots)
    else:
        settings["CORE__PARALLELISM"] = str(plan.slots)
    return {"AIRFLOW_HOME": str(home)} | {f"AIRFLOW__{key}": value for key, value in settings.items()}


def _prepare_flights(crew: Crew, airflow: list[str], environment: dict[str, str], folder: Path, server: str) -> None:
    """Make the objects of examples/flights/fleet.yaml with Airflow's own commands."""
    environment["AIRFLOW_CONN_WAREHOUSE"] = server.replace("postgresql://", "postgres://").replace(
        "/postgres?", "/warehouse?"
    )
    environment["AIRFLOW_VAR_FLIGHTS_YEAR_MONTHS"] = "12"
    environment["AIRFLOW_VAR_FLIGHTS_ON_TIME_MINUTES"] = "15"
    crew.run("pool", [*airflow, "pools", "set", "warehouse", "2", "bench"], environment)
    project.deliver(folder / "project", folder)


def _start_postgres(crew: Crew, folder: Path, plan: Plan) -> str:
    """Start a PostgreSQL server with default settings, create the databases, and return the DSN of `postgres`."""
    binaries, [port] = launch.find_postgres(), find_ports(1)
    password = secrets.token_urlsafe(24)
    folder.mkdir()
    secret = folder / "password"
    secret.write_text(password)
    user = processes.UNPRIVILEGED_USER if os.geteuid() == 0 else None
    if user:
        for path in (folder, secret):
            shutil.chown(path, user)
    initdb = [str(binaries / "initdb"), "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8"]
    data = str(folder / "data")
    done = subprocess.run(
        [*initdb, "--locale=C.UTF-8", "-D", data], user=user, cwd="/", capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"initdb failed:\n{done.stderr}")
    options = ["-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    crew.start("postgres", [str(binaries / "postgres"), "-D", data, *options], os.environ, unprivileged=True)
    dsn = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres?"
    wait(lambda: _can_connect(dsn), "PostgreSQL", crew=crew)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE airflow")
        if "real" in plan.workloads:
            connection.execute("CREATE DATABASE warehouse")
    return dsn


def _can_connect(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=2).close()
    except psycopg.Error:
        return False
    return True
