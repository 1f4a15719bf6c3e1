"""A command of Airflow prints no warning about a package that it does not need."""

from __future__ import annotations

import subprocess
import sys

from deadline import COMMAND_S

PARSE = """
import sys
sys.argv = ["airflow", "dags", "list"]
from airflow.cli import cli_parser
cli_parser.get_parser()
import airflow.cli.commands.dag_command
"""


def test_commands_about_dags_do_not_warn_of_graphviz() -> None:
    words = [sys.executable, "-c", PARSE]
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_S, check=True)
    assert "graphviz" not in done.stdout + done.stderr
