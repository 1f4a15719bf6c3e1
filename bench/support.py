"""What every benchmark needs: a project to throw away, commands, waiting, and CPU seconds."""

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
    """A folder with an empty dags/ that any user can get through to, as root runs PostgreSQL as another one."""
    with tempfile.TemporaryDirectory(prefix="airfleet-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "dags").mkdir()
        yield folder


def stock(folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a stock Airflow that is told where its state and its Dags are, and these settings."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        **settings,
    }


def run(*words: str, **options: Any) -> None:
    """Run a command that must end well; what it said is shown when it does not."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")


def read_status(folder: Path) -> dict[str, Any]:
    """What `airfleet status` says of the platform of a project; raises SystemExit unless the platform is healthy.

    Figures of a platform that is not healthy mean nothing.
    """
    command = [*AIRFLEET, "status", str(folder), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the platform in {folder} is not healthy:\n{done.stdout}")
    status: dict[str, Any] = json.loads(done.stdout)
    return status


def timed(action: Callable[[], object]) -> float:
    """The seconds it takes."""
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def wait(condition: Callable[[], bool], what: str) -> None:
    """Return when it is so; looked at every 50 ms."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(0.05)


def measure_cores(roots: Sequence[psutil.Process], seconds: float, dsn: str = "") -> float:
    """Cores that these processes take, with all their children, those that came and went included.

    With a database, also what its server processes take that serve them at the end.
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
    """CPU seconds of a process and of the children that it has waited for; none of one that has just ended."""
    with suppress(psutil.NoSuchProcess):
        return float(sum(process.cpu_times()[:4]))
    return 0.0


def find_backends(roots: Sequence[psutil.Process], dsn: str) -> list[psutil.Process]:
    """The server processes of a database on this machine that serve these processes and their children now."""
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
    """A process and all below it; none of one that has just ended."""
    with suppress(psutil.NoSuchProcess):
        return [root, *root.children(recursive=True)]
    return []


def read(name: str) -> dict[str, Any]:
    """The figures that were kept last."""
    path = RESULTS / f"{name}.json"
    figures: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return figures


def write(name: str, figures: Mapping[str, object]) -> None:
    """Keep the figures as bench/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")


def say(line: str) -> None:
    """Tell how far it is."""
    print(line, file=sys.stderr, flush=True)
