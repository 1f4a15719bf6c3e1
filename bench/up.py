"""Start-up and idle cost of `airfleet up`, beside `airflow standalone` on the same machine, in turns.

make bench-up                     three rounds of each, bench/results/up.json
make bench-up ARGS="--rounds 1"   a quick look
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil

from airfleet.runners.local.ports import find_free

RESULTS = Path(__file__).parent / "results" / "up.json"
AIRFLEET = [sys.executable, "-m", "airfleet"]
PATIENCE_S = 300
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
    """What a platform with nothing to do takes: cores, proportional memory, processes."""

    cores: float
    pss_mib: float
    processes: int


def main() -> None:
    """Run the rounds and write the medians and every single figure."""
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
        "idle_pss": round(medians["standalone_idle_pss_mib"] / medians["idle_pss_mib"], 2),
    }
    machine = {"cpus": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30)}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({**medians, "ratios": ratios, "machine": machine, "rounds": figures}, indent=2) + "\n"
    )
    print(f"{'':24}{'airfleet':>10}{'standalone':>12}{'ratio':>8}")
    for label, own, ratio in (
        ("first start, s", "first_s", "first"),
        ("second start, s", "second_s", "second"),
        ("idle, cores", "idle_cores", "idle_cores"),
        ("idle, PSS MiB", "idle_pss_mib", "idle_pss"),
    ):
        print(f"{label:24}{medians[own]:>10.2f}{medians[f'standalone_{own}']:>12.2f}{ratios[ratio]:>7.2f}x")


def measure_airfleet(arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds to healthy from an empty state and from a used one, then the idle cost."""
    with project() as folder:
        port = find_free()
        up = [*AIRFLEET, "up", str(folder), "--detach", "--port", str(port)]
        down = [*AIRFLEET, "down", str(folder)]
        try:
            first_s = time_command(up)
            run(down)
            second_s = time_command(up)
            status = json.loads(subprocess.check_output([*AIRFLEET, "status", str(folder), "--json"]))
            idle = measure_idle(psutil.Process(status["supervisor_pid"]), arguments)
        finally:
            run(down)
    return report("airfleet", "", first_s, second_s, idle)


def measure_standalone(arguments: argparse.Namespace) -> dict[str, float]:
    """The same of `airflow standalone`, told only where its state, its port and its Dags are."""
    with project() as folder:
        port = find_free()
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(find_free()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(find_free()),
        }
        with standalone(environment, port) as (first_s, _):
            pass
        with standalone(environment, port) as (second_s, root):
            idle = measure_idle(root, arguments)
    return report("standalone", "standalone_", first_s, second_s, idle)


def report(name: str, prefix: str, first_s: float, second_s: float, idle: Idle) -> dict[str, float]:
    """The figures of one round by the names they have in the results."""
    figures = {
        "first_s": first_s,
        "second_s": second_s,
        **{f"idle_{key}": value for key, value in asdict(idle).items()},
    }
    say(f"{name}: " + ", ".join(f"{key} {value:.2f}" for key, value in figures.items()))
    return {prefix + key: value for key, value in figures.items()}


@contextmanager
def standalone(environment: dict[str, str], port: int) -> Iterator[tuple[float, psutil.Process]]:
    """A running `airflow standalone`: the seconds it took to be healthy, and its root process."""
    begun = time.monotonic()
    with Path(os.devnull).open("wb") as null:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"],
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
        members = [root, *root.children(recursive=True)]
        process.send_signal(signal.SIGINT)
        _, alive = psutil.wait_procs(members, timeout=60)
        for member in alive:
            member.kill()
        process.wait()


def wait_healthy(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when Airflow's own health page calls every component healthy."""
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
    """Cores over the idle seconds, children that came and went included; memory and processes at the end."""
    time.sleep(arguments.settle)
    before, begun = cpu_seconds(root), time.monotonic()
    time.sleep(arguments.idle)
    cores = (cpu_seconds(root) - before) / (time.monotonic() - begun)
    members = family(root)
    pss = sum(process.memory_full_info().pss for process in members)
    return Idle(cores, pss / 2**20, len(members))


def cpu_seconds(root: psutil.Process) -> float:
    """CPU seconds of all living processes below the root, and of those that they waited for."""
    return sum(sum(process.cpu_times()[:4]) for process in family(root))


def family(root: psutil.Process) -> list[psutil.Process]:
    return [root, *root.children(recursive=True)]


@contextmanager
def project() -> Iterator[Path]:
    """An empty project with one small Dag."""
    with tempfile.TemporaryDirectory(prefix="airfleet-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "dags").mkdir()
        (folder / "dags" / "hello.py").write_text(DAG)
        yield folder


def time_command(argv: list[str]) -> float:
    begun = time.monotonic()
    run(argv)
    return time.monotonic() - begun


def run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} failed:\n{done.stderr}")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
