"""The project that both systems run: the bench's Dags, and the flights example if it is requested."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from stock.system import BENCH, FLIGHTS, Plan


def make(folder: Path, plan: Plan) -> None:
    """Fill the folder. The flights project's Dags have schedules, so they are added only for their workload."""
    dags = folder / "dags"
    dags.mkdir(parents=True)
    for workload in (*plan.triggered, *((plan.dags_of,) if plan.dags_of else ())):
        for dag in workload.dags:
            shutil.copy(BENCH / "dags" / f"{workload.name}.py", dags / f"{dag}.py")
    if "real" in plan.workloads:
        shutil.copytree(FLIGHTS / "include", folder / "include", ignore=shutil.ignore_patterns("__pycache__"))
        for file in (FLIGHTS / "dags").glob("*.py"):
            shutil.copy(file, dags)


def deliver(project: Path, state: Path) -> None:
    """Write the flights of the year to the folder that the project's sensors watch."""
    landing = state / "flights" / "landing"
    landing.mkdir(parents=True)
    command = [sys.executable, "-m", "include.feed", "--out", str(landing)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=dict(os.environ), check=False)
    if done.returncode:
        raise SystemExit(f"the flights feed could not be written:\n{done.stderr}")
