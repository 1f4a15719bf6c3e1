"""Airflow 2 code, as ruff's AIR rules see it: the one module that runs ruff."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from airfleet.errors import AirfleetError
from airfleet.releases.checks.inputs import Migration

# AIR002: a Dag without a schedule ran daily in Airflow 2 and does not run in Airflow 3.
SELECT = "AIR002,AIR3"
BROKEN = ("AIR301", "AIR302", "AIR303")
SECONDS = 60.0


def find_program() -> str | None:
    """The ruff beside this Python, or the one on the path."""
    own = Path(sys.executable).parent / "ruff"
    return str(own) if own.is_file() else shutil.which("ruff")


def check(project: Path) -> tuple[Migration, ...] | None:
    """What ruff finds in the Dags and includes of a project; None where there is no ruff."""
    program = find_program()
    if program is None:
        return None
    return parse(_run(program, project, "--output-format", "json"), project)


def fix(project: Path) -> tuple[Migration, ...] | None:
    """Rewrite the project's files as far as ruff can, and return what is left; None where there is no ruff.

    Nearly all of these fixes replace an import, which ruff calls unsafe because it cannot see who imports it from here.
    """
    program = find_program()
    if program is None:
        return None
    return parse(_run(program, project, "--fix", "--unsafe-fixes", "--output-format", "json"), project)


def parse(text: str, project: Path) -> tuple[Migration, ...]:
    """The findings in ruff's JSON, with paths from the project; files that are not Python are left to others."""
    found: list[dict[str, Any]] = json.loads(text or "[]")
    return tuple(
        Migration(
            path=_relative(one["filename"], project),
            line=one["location"]["row"],
            code=one["code"],
            what=one["message"],
            fix=(one.get("fix") or {}).get("message") or "",
            is_broken=one["code"] in BROKEN,
        )
        for one in found
        if str(one.get("code")).startswith("AIR")
    )


def _relative(name: str, project: Path) -> str:
    path, root = Path(name), project.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _run(program: str, project: Path, *options: str) -> str:
    folders = [name for name in ("dags", "include") if (project / name).is_dir()]
    if not folders:
        return "[]"
    argv = [program, "check", "--isolated", "--no-cache", "--exit-zero", "--select", SELECT, *options, *folders]
    try:
        # Absolute, because ruff resolves links and the findings' paths are compared with the project's.
        done = subprocess.run(argv, cwd=project.resolve(), capture_output=True, text=True, check=False, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AirfleetError(f"ruff did not run: {error}", hint="set checks: {airflow-2-code: off}") from None
    if done.returncode != 0:
        raise AirfleetError(f"ruff failed: {done.stderr.strip()}", hint="set checks: {airflow-2-code: off}")
    return done.stdout
