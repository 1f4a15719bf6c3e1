"""Helpers of all benchmarks: a temporary project, commands, waits, and CPU seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

AIRFLEET = (sys.executable, "-m", "airfleet")
AIRFLOW = (sys.executable, "-m", "airflow")
RESULTS = Path(__file__).parent / "results"
PATIENCE_S = 900.0


@contextmanager
def project() -> Iterator[Path]:
    """Yield a folder with an empty dags/ that any user can enter, because root runs PostgreSQL as another user."""
    with tempfile.TemporaryDirectory(prefix="airfleet-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "dags").mkdir()
        yield folder


def stock(folder: Path, python: Path = Path(sys.executable), **settings: str) -> dict[str, str]:
    """Return the environment of a stock Airflow with its state and Dags in a folder, and with these settings."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")},
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        **settings,
    }


def describe_machine() -> dict[str, int | None]:
    """Return what a file of results says of the machine."""
    return {"cpus": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30)}


def run(*words: str, **options: Any) -> None:
    """Run a command.

    Raises:
        SystemExit: The command fails; its output is shown.
    """
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")


def read_status(folder: Path) -> dict[str, Any]:
    """Return the output of `airfleet status` for a project.

    Raises:
        SystemExit: The platform is not healthy, so its figures would mean nothing.
    """
    command = [*AIRFLEET, "status", str(folder), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the platform in {folder} is not healthy:\n{done.stdout}")
    status: dict[str, Any] = json.loads(done.stdout)
    return status


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def wait(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds. It is checked every 50 ms.

    Raises:
        SystemExit: It does not hold after PATIENCE_S seconds.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(0.05)


def measure_cores(roots: Sequence[psutil.Process], seconds: float, dsn: str = "") -> float:
    """Return the mean number of cores that these processes and all their children use, also children that ended.

    With `dsn`, the PostgreSQL processes that serve them at the end count too.
    """

    def own() -> float:
        return sum(count_cpu(member) for root in roots for member in family(root))

    before, served = own(), {backend.pid: count_cpu(backend) for backend in find_backends(roots, dsn)}
    begun = time.monotonic()
    time.sleep(seconds)
    lasted = time.monotonic() - begun
    serving = sum(count_cpu(backend) - served.get(backend.pid, 0.0) for backend in find_backends(roots, dsn))
    return (own() - before + serving) / lasted


def count_cpu(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of the children that it reaped, or 0 if it has just ended."""
    with suppress(psutil.NoSuchProcess):
        return float(sum(process.cpu_times()[:4]))
    return 0.0


def find_backends(roots: Sequence[psutil.Process], dsn: str) -> list[psutil.Process]:
    """Return the PostgreSQL processes on this machine that serve these processes and their children now."""
    if not dsn:
        return []
    ports: list[int] = []
    for member in (member for root in roots for member in family(root)):
        with suppress(psutil.NoSuchProcess):
            ports += [one.laddr.port for one in member.net_connections("tcp") if one.laddr]
    query = "SELECT pid FROM pg_stat_activity WHERE client_port = ANY(%s)"
    with psycopg.connect(dsn) as connection:
        return [psutil.Process(pid) for (pid,) in connection.execute(query, (ports,)).fetchall()]


def family(root: psutil.Process) -> list[psutil.Process]:
    """Return a process and all its descendants, or nothing if it has just ended."""
    with suppress(psutil.NoSuchProcess):
        return [root, *root.children(recursive=True)]
    return []


def read(name: str) -> dict[str, Any]:
    """Return the figures that were written last."""
    path = RESULTS / f"{name}.json"
    figures: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return figures


def write(name: str, figures: Mapping[str, object]) -> None:
    """Write the figures to bench/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)
