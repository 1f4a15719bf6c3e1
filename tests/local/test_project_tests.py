"""The tests of a project are run by pytest, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from airfleet.releases.checks import project_tests
from airfleet.releases.checks.inputs import ProjectTests
from command_line import run_process

pytestmark = pytest.mark.local


def write(project: Path, path: str, text: str) -> None:
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    (project / path).write_text(text)


def test_the_project_s_tests_are_run(tmp_path: Path) -> None:
    write(tmp_path, "include/numbers_of_sales.py", "ONE = 1\n")
    test = "from include.numbers_of_sales import ONE\n\ndef test_a():\n    assert ONE == 1\n\n"
    test += "def test_b():\n    assert ONE == 2\n"
    write(tmp_path, "tests/test_sales.py", test)
    found = project_tests.run(tmp_path)
    assert (found.ran, found.problem) == (2, "")
    (failed,) = found.failed
    assert (failed.path, failed.line, failed.name) == ("tests/test_sales.py", 7, "test_b")
    assert "assert 1 == 2" in failed.what


def test_a_test_file_that_does_not_load_is_a_failed_test(tmp_path: Path) -> None:
    write(tmp_path, "tests/test_sales.py", "import nothing_of_this_name\n")
    (failed,) = project_tests.run(tmp_path).failed
    assert failed.path == "tests/test_sales.py"


def test_a_project_without_tests_passes(tmp_path: Path) -> None:
    assert project_tests.run(tmp_path) == ProjectTests()
    (tmp_path / "tests").mkdir()
    assert project_tests.run(tmp_path) == ProjectTests()


def test_the_projects_tests_run_with_the_project_on_the_path_and_an_airflow_of_their_own(tmp_path: Path) -> None:
    project = tmp_path
    (project / "dags").mkdir()
    (project / "helper.py").write_text("VALUE = 1\n")
    (project / "test_it.py").write_text(
        "import os, helper\n"
        "def test_good():\n"
        "    assert helper.VALUE == 1\n"
        f"    assert not os.environ['AIRFLOW_HOME'].startswith({str(project)!r})\n"
        "def test_bad():\n"
        "    assert False\n"
    )
    assert run_process("test", "-q", "-k", "good", "test_it.py", cwd=project).returncode == 0
    assert run_process("test", "-q", "-k", "bad", "test_it.py", cwd=project).returncode == 1
