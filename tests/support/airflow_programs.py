"""Programs of tests that run Airflow in a process of their own, on a PostgreSQL of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deadline import COMMAND_S
from servers import Server, serve

# For a program that runs Airflow's scheduler loop by loop.
SCHEDULER = {
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__PARALLELISM": "500",
    "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "0",  # which of equals are queued first is left to chance
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
}


def list_environment(server: Server, home: Path) -> dict[str, str]:
    """Return the environment in which Airflow uses the server, and `home` as its folder."""
    return {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": server.dsn.replace("postgresql://", "postgresql+psycopg2://"),
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of a test, and of nothing else; 64 bytes are asked for it",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }


def run(
    name: str, home: Path, *words: str, settings: Mapping[str, str] | None = None, timeout_s: float = COMMAND_S
) -> dict[str, Any]:
    """Run the program of this name in this folder; return the JSON in the last line that it prints.

    Raises:
        AssertionError: The program failed.
    """
    with serve() as server:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *words],
            env=list_environment(server, home) | dict(settings or {}),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-5000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
