"""`airfleet test`: the project's own tests, in the environment that its Dags run in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import click

from airfleet.cli import options
from airfleet.cli.environment import enter
from airfleet.errors import UsageError
from airfleet.runners.local import inherited
from airfleet.workspace.project import find_project, read_fleet


@click.command(
    "test",
    short_help="Run the project's own tests.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@options.project_option
@options.state
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(project: Path, state: Path | None, arguments: tuple[str, ...]) -> None:
    """Run the project's tests with pytest. The project is on Python's path. The tests have their own Airflow.

    \b
    Example:
      airfleet test -k ingest
    """
    project = find_project(project)
    enter(project, read_fleet(project), state)
    if find_spec("pytest") is None:
        raise UsageError("pytest is not installed", where=sys.prefix, hint="pip install pytest")
    with environment(project, os.environ) as own:
        run = subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=project, env=own, check=False)
    raise SystemExit(run.returncode)


# The variables that tests inherit from the environment of a deployment. None of them is a secret.
PLAIN = re.compile(r"PATH|HOME|USER|LOGNAME|SHELL|TERM|TZ|TMPDIR|LANG|LC_\w+|VIRTUAL_ENV|PYTHON\w+|COVERAGE_\w+|CI")


def keep_plain(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables for paths and locale. SSH agents, keys and passwords are left out."""
    return {name: value for name, value in variables.items() if PLAIN.fullmatch(name)}


@contextmanager
def environment(project: Path, variables: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Return the tests' environment: their own Airflow without a platform, and the project folder on Python's path."""
    with tempfile.TemporaryDirectory(prefix="airfleet-test-") as scratch:
        yield {
            **inherited.build_environment(variables, {}, project, Path(scratch)),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(project / "dags"),
        }
