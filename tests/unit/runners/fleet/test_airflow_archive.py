"""The packages that are installed for hosts, and the hashes that are checked."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from airfleet.drills.operator_actions import run_command
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.packaging.airflow_archive import Recipe
from airfleet.workspace import python_packages

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
HASHED = "six==1.17.0 \\\n    --hash=sha256:aaaa  # by uv\n"


def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requirements: str) -> tuple[list[list[str]], list[str]]:
    """Return the commands that install packages, and the messages for the user."""
    ran: list[list[str]] = []
    told: list[str] = []
    monkeypatch.setattr(python_packages, "run", ran.append)
    root = tmp_path / "root"
    recipe = Recipe(PYTHON, platform.machine(), "idna==3.10 --hash=sha256:bbbb\n", requirements, ())
    airflow_archive._build(recipe, root, tmp_path, told.append)
    return [argv for argv in ran if "install" in argv], told


@pytest.mark.parametrize("requirements", ["", "# nothing\n", HASHED])
def test_whatever_has_hashes_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requirements: str) -> None:
    ((*argv,),), told = build(tmp_path, monkeypatch, requirements)
    assert "--require-hashes" in argv
    assert told == []


@pytest.mark.parametrize("requirements", ["six\n", HASHED + "idna>=3\n", "six @ https://example.com/six.whl\n"])
def test_a_projects_requirements_without_hashes_take_none_from_airflows_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requirements: str
) -> None:
    (first, second), (told,) = build(tmp_path, monkeypatch, requirements)
    assert "--require-hashes" in first
    assert str(tmp_path / "requirements.txt") not in first
    assert second[-4:] == ["--constraint", str(tmp_path / "packages.txt"), "--requirement", second[-1]]
    assert "have no hashes" in told
    assert "--generate-hashes" in told


def test_no_module_of_the_folder_that_the_user_is_in_runs_on_the_control_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the project's folder, which other people can write to."""
    here = tmp_path / "project"
    here.mkdir()
    for name in ("compileall", "struct", "py_compile"):
        (here / f"{name}.py").write_text(f"from pathlib import Path; Path({str(tmp_path / 'ran')!r}).touch()")
    monkeypatch.chdir(here)
    build(tmp_path, monkeypatch, "")
    assert not (tmp_path / "ran").exists()


def test_a_drill_runs_airfleet_and_no_module_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "airfleet.py").write_text(f"from pathlib import Path; Path({str(tmp_path / 'ran')!r}).touch()")
    run_command(("--version",), tmp_path, None)
    assert not (tmp_path / "ran").exists()
