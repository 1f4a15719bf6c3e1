"""ruff and pytest are run, and what they say is read."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from airfleet.releases.checks import project_tests, ruff

OLD = "from airflow.models import DAG\n\nDAG('a', schedule_interval='@daily')\n"

needs_ruff = pytest.mark.skipif(ruff.find_program() is None, reason="ruff is not installed")


def write(project: Path, path: str, text: str) -> None:
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    (project / path).write_text(text)


@needs_ruff
def test_ruff_finds_airflow_2_code(tmp_path: Path) -> None:
    write(tmp_path, "dags/old.py", OLD)
    write(tmp_path, "tests/old.py", OLD)
    found = ruff.check(tmp_path)
    assert found is not None
    assert [(one.path, one.line, one.code, one.is_broken) for one in found] == [
        ("dags/old.py", 3, "AIR311", False),
        ("dags/old.py", 3, "AIR301", True),
    ]
    assert "schedule" in found[1].fix


@needs_ruff
def test_ruff_rewrites_what_it_can(tmp_path: Path) -> None:
    write(tmp_path, "dags/old.py", OLD)
    assert ruff.fix(tmp_path) == ()
    assert "from airflow.sdk import DAG" in (tmp_path / "dags/old.py").read_text()
    assert "schedule='@daily'" in (tmp_path / "dags/old.py").read_text()


@needs_ruff
def test_a_syntax_error_is_not_ruff_s_to_report(tmp_path: Path) -> None:
    write(tmp_path, "dags/bad.py", "def f(:\n")
    assert ruff.check(tmp_path) == ()


def test_a_project_without_dags_has_no_airflow_2_code(tmp_path: Path) -> None:
    assert not ruff.check(tmp_path)


def test_ruff_s_json_is_read(tmp_path: Path) -> None:
    one = {
        "filename": f"{tmp_path}/dags/a.py",
        "location": {"row": 7},
        "code": "AIR302",
        "message": "gone",
        "fix": None,
    }
    (found,) = ruff.parse(json.dumps([one, {**one, "code": None}]), tmp_path)
    assert (found.path, found.line, found.is_broken, found.fix) == ("dags/a.py", 7, True, "")


def test_no_ruff_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert ruff.check(tmp_path) is None
    assert ruff.fix(tmp_path) is None


def test_tests_that_hang_or_cannot_start_are_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "tests/test_slow.py", "import time\n\ndef test_a():\n    time.sleep(60)\n")
    assert project_tests.run(tmp_path, seconds=0.5).problem == "they did not end within 0.5 s"
    assert "cannot be started" in project_tests.run(tmp_path, python=str(tmp_path / "none")).problem
