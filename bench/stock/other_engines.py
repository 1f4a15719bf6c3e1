"""Prefect and Dagster on the workloads that they can express. Each record says what the engine lacks beside Airflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from stock.crew import Crew, find_ports, gather, say, wait
from stock.system import BENCH, REPOSITORY, TOOLS
from stock.workloads import WORKLOADS

PATIENCE_S = 900.0


@dataclass(frozen=True)
class Engine:
    """Another engine: packages that work together, its program, and what it lacks beside Airflow."""

    name: str
    packages: tuple[str, ...]
    program: str
    leaves_out: str

    @property
    def venv(self) -> Path:
        return TOOLS / self.name


ENGINES = (
    Engine(
        "prefect",
        # The newest versions of these packages do not start together.
        (
            *("prefect==3.4.25", "fastapi<0.116", "starlette<0.47", "pydantic<2.12", "sqlalchemy<2.1"),
            "importlib_metadata",
        ),
        "prefect_flows.py",
        "no isolation: tasks are threads of the flow's one process, on one machine; SQLite",
    ),
    Engine(
        "dagster",
        ("dagster==1.13.29",),
        "dagster_jobs.py",
        "a process a task, but one run on one machine, with no scheduler, queue or server between; SQLite; "
        "wide and chain are one run each, not ten",
    ),
)
EXPRESSED = ("seq40", "wide", "chain", "fan")


def measure(workloads: tuple[str, ...], slots: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a record for each engine and workload."""
    for engine in ENGINES:
        python = build(engine)
        home = folder / engine.name
        home.mkdir()
        environment = {**os.environ, "DAGSTER_HOME": str(home), "PREFECT_HOME": str(home), "DO_NOT_TRACK": "1"}
        environment |= {"PREFECT_LOGGING_LEVEL": "WARNING", "DAGSTER_DISABLE_TELEMETRY": "yes"}
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        with gather(home) as crew:
            if engine.name == "prefect":
                environment |= _start_prefect(crew, python, environment)
            for workload in (name for name in workloads if name in EXPRESSED):
                wall = _run(python, engine, workload, slots, environment)
                tasks = WORKLOADS[workload].tasks
                say(f"  {engine.name} {workload}: {tasks} tasks in {wall:.1f} s")
                yield {
                    "engine": engine.name,
                    "workload": workload,
                    "wall_s": round(wall, 3),
                    "tasks_per_s": round(tasks / wall, 3),
                    "leaves_out": engine.leaves_out,
                }


def build(engine: Engine) -> Path:
    """Return the Python of the engine's environment. The first call makes the environment."""
    python, stamp = engine.venv / "bin" / "python", engine.venv / "stamp"
    if stamp.exists() and stamp.read_text() == "\n".join(engine.packages):
        return python
    say(f"installing {engine.packages[0]} into {engine.venv.relative_to(REPOSITORY)}")
    uv = str(Path(sys.executable).parent / "uv")
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(engine.venv)],
        [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *engine.packages],
    ):
        subprocess.run(command, check=True, env=environment)
    stamp.write_text("\n".join(engine.packages))
    return python


def _start_prefect(crew: Crew, python: Path, environment: Mapping[str, str]) -> dict[str, str]:
    [port] = find_ports(1)
    url = f"http://127.0.0.1:{port}/api"
    own = {"PREFECT_API_URL": url, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [str(python), "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    crew.start("prefect-server", command, {**environment, **own})
    wait(lambda: _answers(f"{url}/health"), "Prefect's server", crew=crew)
    return own


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _run(python: Path, engine: Engine, workload: str, slots: int, environment: Mapping[str, str]) -> float:
    command = [str(python), str(BENCH / "others" / engine.program), workload, str(slots)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=dict(environment), timeout=PATIENCE_S
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.splitlines()[-1])["wall_s"])
