"""Measure the start and the idle cost of `airfleet up` and `airflow standalone` on this machine, in turns.

make bench-up                     three rounds of each, bench/results/up.json
make bench-up ARGS="--rounds 1"   a quick look
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil

import support
from airfleet.runners.local.ports import find_free
from support import AIRFLEET, AIRFLOW, run, say, timed

PATIENCE_S = 300
SCHEDULER = re.compile(r"\bair(flow|fleet) scheduler\b")
DAG = """
from airflow.sdk import dag, task

@dag(schedule=None)
def hello():
    @task
    def say() -> str:
        return "hello"
    say()

hello()
"""


@dataclass(frozen=True)
class Idle:
    """The use of a platform without work: cores, proportional memory in MiB, and processes."""

    cores: float
    scheduler_cores: float
    pss_mib: float
    processes: int


def main() -> None:
    """Run the rounds, and write the medians and every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settle", type=float, default=30, help="seconds from healthy to the idle measurement")
    parser.add_argument("--idle", type=float, default=60, help="seconds of the idle measurement")
    arguments = parser.parse_args()
    figures: dict[str, list[float]] = {}
    for number in range(arguments.rounds):
        say(f"round {number + 1} of {arguments.rounds}")
        for key, value in (measure_airfleet(arguments) | measure_standalone(arguments)).items():
            figures.setdefault(key, []).append(value)
    medians = {key: round(statistics.median(values), 3) for key, values in figures.items()}
    ratios = {
        "first": round(medians["standalone_first_s"] / medians["first_s"], 2),
        "second": round(medians["standalone_second_s"] / medians["second_s"], 2),
        "idle_cores": round(medians["standalone_idle_cores"] / medians["idle_cores"], 2),
        "idle_scheduler": round(medians["standalone_idle_scheduler_cores"] / medians["idle_scheduler_cores"], 2),
        "idle_pss": round(medians["standalone_idle_pss_mib"] / medians["idle_pss_mib"], 2),
    }
    support.write("up", {**medians, "ratios": ratios, "machine": support.describe_machine(), "rounds": figures})
    print(f"{'':24}{'airfleet':>10}{'standalone':>12}{'ratio':>8}")
    for label, own, ratio in (
        ("first start, s", "first_s", "first"),
        ("second start, s", "second_s", "second"),
        ("idle, cores", "idle_cores", "idle_cores"),
        ("idle scheduler, cores", "idle_scheduler_cores", "idle_scheduler"),
        ("idle, PSS MiB", "idle_pss_mib", "idle_pss"),
    ):
        print(f"{label:24}{medians[own]:>10.2f}{medians[f'standalone_{own}']:>12.2f}{ratios[ratio]:>7.2f}x")


def measure_airfleet(arguments: argparse.Namespace) -> dict[str, float]:
    """Measure the seconds until airfleet is healthy, with an empty and a used state, and then the idle cost."""
    with project() as folder:
        port = find_free()
        up = [*AIRFLEET, "up", str(folder), "--detach", "--port", str(port)]
        down = [*AIRFLEET, "down", str(folder)]
        try:
            first_s = timed(lambda: run(*up))
            run(*down)
            second_s = timed(lambda: run(*up))
            idle = measure_idle(psutil.Process(support.read_status(folder)["supervisor_pid"]), arguments)
        finally:
            run(*down)
    return report("airfleet", "", first_s, second_s, idle)


def measure_standalone(arguments: argparse.Namespace) -> dict[str, float]:
    """Measure the same for `airflow standalone`, which gets only its state folder, its port and its Dags."""
    with project() as folder:
        port = find_free()
        environment = support.stock(
            folder,
            AIRFLOW__API__PORT=str(port),
            AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"http://127.0.0.1:{port}/execution/",
            AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT=str(find_free()),
            AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT=str(find_free()),
        )
        with standalone(environment, port) as (first_s, _):
            pass
        with standalone(environment, port) as (second_s, root):
            idle = measure_idle(root, arguments)
    return report("standalone", "standalone_", first_s, second_s, idle)


def report(name: str, prefix: str, first_s: float, second_s: float, idle: Idle) -> dict[str, float]:
    """Return the figures of one round with their names in the results."""
    figures = {
        "first_s": first_s,
        "second_s": second_s,
        **{f"idle_{key}": value for key, value in asdict(idle).items()},
    }
    say(f"{name}: " + ", ".join(f"{key} {value:.2f}" for key, value in figures.items()))
    return {prefix + key: value for key, value in figures.items()}


@contextmanager
def standalone(environment: dict[str, str], port: int) -> Iterator[tuple[float, psutil.Process]]:
    """Run `airflow standalone`, and yield the seconds until it was healthy, and its root process."""
    begun = time.monotonic()
    with Path(os.devnull).open("wb") as null:
        process = subprocess.Popen(
            [*AIRFLOW, "standalone"],
            env=environment,
            stdout=null,
            stderr=null,
            start_new_session=True,
        )
    root = psutil.Process(process.pid)
    try:
        wait_healthy(port, process)
        yield time.monotonic() - begun, root
    finally:
        members = support.family(root)
        process.send_signal(signal.SIGINT)
        _, alive = psutil.wait_procs(members, timeout=60)
        for member in alive:
            member.kill()
        process.wait()


def wait_healthy(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until Airflow's health page shows every component as healthy."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            health = httpx.get(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5, trust_env=False).json()
            if all(part["status"] == "healthy" for part in health.values()):
                return
        except (httpx.HTTPError, ValueError):
            pass
        time.sleep(0.1)
    raise SystemExit("airflow standalone did not become healthy")


def measure_idle(root: psutil.Process, arguments: argparse.Namespace) -> Idle:
    """Measure the cores over the idle seconds, with children that ended, and memory and processes at the end."""
    time.sleep(arguments.settle)
    schedulers = [one for one in support.family(root) if SCHEDULER.search(" ".join(one.cmdline()))]
    begun, before = time.monotonic(), sum(map(support.count_cpu, schedulers))
    cores = support.measure_cores([root], arguments.idle)
    scheduler_cores = (sum(map(support.count_cpu, schedulers)) - before) / (time.monotonic() - begun)
    members = support.family(root)
    pss = sum(process.memory_full_info().pss for process in members)
    return Idle(cores, scheduler_cores, pss / 2**20, len(members))


@contextmanager
def project() -> Iterator[Path]:
    """Yield a project with one small Dag."""
    with support.project() as folder:
        (folder / "dags" / "hello.py").write_text(DAG)
        yield folder


if __name__ == "__main__":
    main()
