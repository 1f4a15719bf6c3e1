"""A program: what commands of Airflow find of a Dag whose file has changed, and what they write. It prints JSON.

Its AIRFLOW_HOME is an empty folder.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

import listed_dags

# Airflow is imported after its settings are made.
# ruff: noqa: PLC0415

DAG = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG("{name}"):
    for task in {tasks}:
        EmptyOperator(task_id=task)
"""


def write(home: Path, name: str, *tasks: str) -> None:
    """Write the file of a Dag."""
    (home / f"{name}.py").write_text(DAG.format(name=name, tasks=tasks))


def count_versions() -> int:
    from airflow.models.dag_version import DagVersion
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    with create_session() as session:
        return int(session.scalar(select(func.count()).select_from(DagVersion)) or 0)


def find(name: str) -> list[str]:
    """Return the tasks of a Dag that a command finds which runs it."""
    from airflow.cli.commands import task_command

    return sorted(task_command.get_bagged_dag(None, name).task_ids)


def list_tasks(name: str) -> list[str]:
    """Return the tasks that `airflow tasks list` prints, or its error."""
    from airflow.cli import cli_parser

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        arguments = cli_parser.get_parser().parse_args(["tasks", "list", name])
        try:
            arguments.func(arguments)
        except Exception as error:
            return [type(error).__name__]
    return out.getvalue().split()


def main() -> None:
    """Store a Dag, change its file, and ask for it. Do the same with a Dag that has left the release."""
    home = Path(os.environ["AIRFLOW_HOME"])
    listed_dags.set_up(home)
    write(home, "zebra", "a", "b")
    write(home, "gone", "a")
    find("zebra")
    find("gone")
    listed_dags.change("UPDATE dag SET is_stale = true WHERE dag_id = 'gone'")()
    from airfleet_provider.compat.patches.dag_lookup import look_up_stored_dags

    look_up_stored_dags()
    write(home, "zebra", "a", "b", "c")
    (home / "gone.py").unlink()
    before = count_versions()
    found = {"listed": list_tasks("zebra"), "run": find("zebra"), "written": count_versions() - before}
    found["gone"] = list_tasks("gone")
    write(home, "new", "x")
    found["new"] = list_tasks("new")
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
