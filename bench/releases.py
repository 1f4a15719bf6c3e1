"""Compare Dag releases of 500 files with a stock Dag processor on the same files, in one run.

make bench-releases                      500 files, 30 deploys under 200 runs: bench/results/releases.json
make bench-releases ARGS="--files 100 --runs 20 --deploys 5"   a quick look
make bench-releases ARGS="--only stock"  one half; the figures of the other stay

First load: the time from the command (`release deploy` with its checks, or the start of `airflow dag-processor`) until
all Dags are in the database. Steady: the CPU of the processes that read Dag files (the Dag processor, with airfleet
also the releaser), of their children, and of the PostgreSQL processes that serve them. One file: the time from the
command (`release deploy`, or with stock the write of the file) until the REST API shows the new version. No API runs
beside stock, so there it is the table that the API reads.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

import support
from airfleet.runners.local import launch
from airfleet.runners.local.ports import find_free
from stock import stock_airflow
from support import AIRFLEET, run, say, timed, wait

TASKS = 10
# Seconds that a server has to end.
END_S = 60
DAG = """
import pendulum
from airflow.sdk import dag, task


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1), description="version {version}")
def bench_{number:03}():
    previous = None
    for n in range({tasks}):

        @task(task_id=f"step_{{n}}")
        def step() -> int:
            return {number}

        current = step()
        if previous is not None:
            previous >> current
        previous = current


bench_{number:03}()
"""
# Each task returns the release of its code, which is the name of the file's folder.
WITNESS = """
from pathlib import Path

import pendulum
from airflow.sdk import dag, task

from include.version import VERSION


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1), max_active_runs=500, description="version {version}")
def witness():
    @task
    def first() -> list:
        return [Path(__file__).parts[-3], VERSION]

    @task
    def second(before: list) -> list:
        return [before, [Path(__file__).parts[-3], VERSION]]

    second(first())


witness()
"""


def main() -> None:
    """Measure both systems, and write every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--deploys", type=int, default=30)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steady", type=float, default=60, help="seconds of the steady measurement")
    parser.add_argument("--only", choices=("airfleet", "stock"), help="measure one of the two")
    arguments = parser.parse_args()
    figures = {"files": arguments.files, "tasks_per_file": TASKS, "cpus": os.cpu_count()}
    if arguments.only:
        kept = support.read("releases")
        figures |= kept if figures.items() <= kept.items() else {}
    if arguments.only != "stock":
        figures |= measure_airfleet(arguments)
    if arguments.only != "airfleet":
        figures |= {f"stock_{key}": value for key, value in measure_stock(arguments).items()}
    figures["ratios"] = {
        key: round(figures[f"stock_{key}"] / figures[key], 1)
        for key in ("first_load_s", "steady_cores", "one_file_visible_s")
        if figures.get(key) and f"stock_{key}" in figures
    }
    support.write("releases", figures)
    print(json.dumps(figures, indent=2))


def measure_airfleet(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the first load, the steady state, one changed file, a rollback, and deploys during runs."""
    with project(arguments.files) as folder:
        (folder / "fleet.yaml").write_text(f"name: bench\ndags: releases\nports: {{api: {find_free()}}}\n")
        (folder / "include").mkdir()
        write_witness(folder, 0)
        run(*AIRFLEET, "up", str(folder), "--detach")
        try:
            with log_in(folder) as api:
                return measure_releases(folder, api, arguments)
        finally:
            run(*AIRFLEET, "down", str(folder), "--now")


def measure_releases(folder: Path, api: httpx.Client, arguments: argparse.Namespace) -> dict[str, Any]:
    count = arguments.files + 1
    first_load_s = timed(lambda: release_and_wait(folder, "deploy", lambda: count_dags(api) == count, "all Dags"))
    say(f"airfleet: first load {first_load_s:.1f} s")
    steady_cores = support.measure_cores(
        [process for name, process in list_components(folder).items() if name in ("dag-processor", "releaser")],
        arguments.steady,
        (folder / ".airfleet" / "secrets" / "metadata_dsn").read_text(),
    )
    say(f"airfleet: steady {steady_cores:.4f} cores")
    visible, back = [], []
    for version in (1, 2, 3):
        write_dag(folder, 7, version=version)
        visible.append(timed(partial(release_version, folder, api, "deploy", version)))
        back.append(timed(partial(release_version, folder, api, "rollback", version - 1)))
        release(folder, "deploy")
    say(f"airfleet: one file {visible}, rollback {back}")
    return {
        "first_load_s": round(first_load_s, 2),
        "steady_cores": round(steady_cores, 4),
        "one_file_visible_s": round(sorted(visible)[1], 2),
        "rollback_s": round(sorted(back)[1], 2),
        **deploy_under_load(folder, api, arguments),
    }


def deploy_under_load(folder: Path, api: httpx.Client, arguments: argparse.Namespace) -> dict[str, Any]:
    """Deploy many times during runs, each time with a new helper module, and check the code that each task used."""
    api.patch("/dags/witness", json={"is_paused": False}).raise_for_status()
    runs: list[str] = []
    for version in range(1, arguments.deploys + 1):
        while len(runs) < arguments.runs * version / arguments.deploys:
            body = {"logical_date": None, "dag_run_id": f"run_{len(runs)}"}
            runs.append(api.post("/dags/witness/dagRuns", json=body).raise_for_status().json()["dag_run_id"])
        write_witness(folder, version)
        release(folder, "deploy")
    say(f"airfleet: {arguments.deploys} deploys done, waiting for {len(runs)} runs")
    wait(lambda: count_unfinished(api) == 0, "the runs to end")
    failed, mixed, releases = 0, 0, set()
    for name in runs:
        run_state = api.get(f"/dags/witness/dagRuns/{name}").raise_for_status().json()
        failed += run_state["state"] != "success"
        if run_state["state"] == "success":
            value = api.get(f"/dags/witness/dagRuns/{name}/taskInstances/second/xcomEntries/return_value").json()[
                "value"
            ]
            said = json.loads(value) if isinstance(value, str) else value
            releases.add(said[0][0])
            mixed += not (said[0] == said[1] and said[0][0] == run_state["bundle_version"])
    return {
        "deploys": arguments.deploys,
        "runs": len(runs),
        "releases_seen": len(releases),
        "failed_runs": failed,
        "mixed_runs": mixed,
    }


def measure_stock(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure a Dag processor of stock Airflow with default settings, on a PostgreSQL of the same version.

    It runs in the environment of `make bench-stock`: in that of airfleet it would call airfleet's policies, too.
    """
    python = stock_airflow.build()
    airflow = (str(python), "-m", "airflow")
    with project(arguments.files) as folder, postgres(folder / "pg") as dsn:
        url = dsn.replace("postgresql://", "postgresql+psycopg2://")
        environment = support.stock(folder, python, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=url)
        run(*airflow, "db", "migrate", env=environment)
        begun = time.monotonic()
        with Path(os.devnull).open("wb") as null:
            process = subprocess.Popen([*airflow, "dag-processor"], env=environment, stdout=null, stderr=null)
        try:
            query = "SELECT count(*) FROM serialized_dag"
            wait(lambda: ask(dsn, query) == arguments.files, "all Dags")
            first_load_s = time.monotonic() - begun
            say(f"stock: first load {first_load_s:.1f} s")
            steady_cores = support.measure_cores([psutil.Process(process.pid)], arguments.steady, dsn)
            say(f"stock: steady {steady_cores:.3f} cores")
            changed = "SELECT count(*) FROM dag WHERE dag_id = 'bench_007' AND description = 'version 1'"
            write_dag(folder, 7, version=1)
            one_file_visible_s = timed(lambda: wait(lambda: ask(dsn, changed) == 1, "the change"))
        finally:
            process.terminate()
            try:
                process.wait(timeout=END_S)
            except subprocess.TimeoutExpired:  # it waits for a parse that waits for it
                process.kill()
                process.wait()
    return {
        "first_load_s": round(first_load_s, 2),
        "steady_cores": round(steady_cores, 4),
        "one_file_visible_s": round(one_file_visible_s, 2),
    }


@contextmanager
def project(files: int) -> Iterator[Path]:
    """Make a project with this number of generated Dag files."""
    with support.project() as folder:
        for number in range(files):
            write_dag(folder, number, version=0)
        yield folder


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL server with default settings on the loopback, and yield its DSN."""
    binaries, port = launch.find_postgres(), find_free()
    user = "nobody" if os.geteuid() == 0 else None
    folder.mkdir()
    if user:
        run("chown", user, str(folder))
    initdb = [str(binaries / "initdb"), "-U", "postgres", "-A", "trust", "-D", str(folder / "data")]
    run(*initdb, user=user, cwd="/")
    options = ["-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    server = subprocess.Popen(
        [str(binaries / "postgres"), "-D", str(folder / "data"), *options],
        user=user,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        wait(lambda: ask(dsn, "SELECT 1") == 1, "PostgreSQL")
        yield dsn
    finally:
        server.send_signal(signal.SIGINT)  # a session that is left does not hold it up
        server.wait(timeout=END_S)


def write_dag(folder: Path, number: int, *, version: int) -> None:
    text = DAG.format(number=number, version=version, tasks=TASKS)
    (folder / "dags" / f"bench_{number:03}.py").write_text(text)


def write_witness(folder: Path, version: int) -> None:
    (folder / "include" / "__init__.py").write_text("")
    (folder / "include" / "version.py").write_text(f"VERSION = {version}\n")
    (folder / "dags" / "witness.py").write_text(WITNESS.format(version=version))


def release(folder: Path, verb: str) -> None:
    run(*AIRFLEET, "release", verb, "--project", str(folder))


def list_components(folder: Path) -> dict[str, psutil.Process]:
    status = support.read_status(folder)
    return {one["name"]: psutil.Process(one["pid"]) for one in status["components"] if one["pid"]}


def log_in(folder: Path) -> httpx.Client:
    status = support.read_status(folder)
    password = (folder / ".airfleet" / "secrets" / "admin_password").read_text()
    login = {"username": "admin", "password": password}
    token = httpx.post(f"{status['url']}/auth/token", json=login, timeout=60).raise_for_status().json()["access_token"]
    return httpx.Client(
        base_url=f"{status['url']}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
    )


def count_dags(api: httpx.Client) -> int:
    return int(api.get("/dags", params={"limit": 1}).raise_for_status().json()["total_entries"])


def count_unfinished(api: httpx.Client) -> int:
    states = {"state": ["queued", "running"], "limit": "1"}
    return int(api.get("/dags/witness/dagRuns", params=states).raise_for_status().json()["total_entries"])


def release_version(folder: Path, api: httpx.Client, verb: str, version: int) -> None:
    """Run a release command, and return when the API shows this version of the changed Dag."""
    says = f"version {version}"
    release_and_wait(folder, verb, lambda: api.get("/dags/bench_007").json()["description"] == says, says)


def release_and_wait(folder: Path, verb: str, is_done: Callable[[], bool], what: str) -> None:
    release(folder, verb)
    wait(is_done, what)


def ask(dsn: str, query: str) -> object:
    try:
        with psycopg.connect(dsn, connect_timeout=5) as connection:
            row = connection.execute(query).fetchone()
    except psycopg.Error:
        return None
    return row[0] if row else None


if __name__ == "__main__":
    main()
