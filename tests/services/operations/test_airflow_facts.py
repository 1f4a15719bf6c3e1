"""What an assessment knows of Airflow, compared with the installed Airflow in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_what_is_known_of_airflow_is_what_the_installed_airflow_says(tmp_path: Path) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    command = [sys.executable, str(ROOT / "tools" / "airflow_facts.py"), "--check"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:] or "run python tools/airflow_facts.py"
