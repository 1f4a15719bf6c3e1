"""The search for Airflow 2 code with ruff's AIR rules. Only this module runs ruff."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from airfleet.errors import AirfleetError
from airfleet.releases.checks.inputs import OutdatedCode

# AIR002: a Dag without a schedule ran daily in Airflow 2 and does not run in Airflow 3.
SELECT = "AIR002,AIR3"
BROKEN = ("AIR301", "AIR302", "AIR303")
SECONDS = 60.0


def find_program() -> str | None:
    """Return the ruff beside this Python, or else the ruff on the path, or None."""
    own = Path(sys.executable).parent / "ruff"
    return str(own) if own.is_file() else shutil.which("ruff")


def check(project: Path) -> tuple[OutdatedCode, ...] | None:
    """Return the Airflow 2 code in a project's dags/ and include/, or None if ruff is not installed.

    Raises:
        AirfleetError: ruff fails.
    """
    program = find_program()
    if program is None:
        return None
    return parse(_run(program, project, _find_folders(project), "--output-format", "json"), project)


def check_folder(folder: Path, *, fix: bool = False) -> tuple[OutdatedCode, ...]:
    """Return the Airflow 2 code in any folder. With `fix`, rewrite its files, and return what ruff could not fix.

    Raises:
        AirfleetError: ruff is not installed, or it fails.
    """
    program = find_program()
    if program is None:
        raise AirfleetError("ruff is not installed beside airfleet", hint="pip install ruff")
    options = ("--fix", "--unsafe-fixes") if fix else ()
    return parse(_run(program, folder, ["."], *options, "--output-format", "json"), folder)


def fix(project: Path) -> tuple[OutdatedCode, ...] | None:
    """Let ruff rewrite the project's files, and return what ruff could not fix, or None if ruff is not installed.

    Nearly all of these fixes replace an import. ruff calls such a fix unsafe, because other files may import the name
    from the rewritten file.

    Raises:
        AirfleetError: ruff fails.
    """
    program = find_program()
    if program is None:
        return None
    return parse(
        _run(program, project, _find_folders(project), "--fix", "--unsafe-fixes", "--output-format", "json"), project
    )


def parse(text: str, project: Path) -> tuple[OutdatedCode, ...]:
    """Return the findings in ruff's JSON, with paths relative to the project, without syntax errors."""
    found: list[dict[str, Any]] = json.loads(text or "[]")
    return tuple(
        OutdatedCode(
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


def _find_folders(project: Path) -> list[str]:
    return [name for name in ("dags", "include") if (project / name).is_dir()]


def _run(program: str, project: Path, folders: list[str], *options: str) -> str:
    if not folders:
        return "[]"
    argv = [program, "check", "--isolated", "--no-cache", "--exit-zero", "--select", SELECT, *options, *folders]
    try:
        # ruff resolves links in the paths of its findings. An absolute path makes them comparable with the project's.
        done = subprocess.run(argv, cwd=project.resolve(), capture_output=True, text=True, check=False, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AirfleetError(f"ruff did not run: {error}", hint="set checks: {airflow-2-code: off}") from None
    if done.returncode != 0:
        raise AirfleetError(f"ruff failed: {done.stderr.strip()}", hint="set checks: {airflow-2-code: off}")
    return done.stdout
