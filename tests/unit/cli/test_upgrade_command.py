"""`airfleet upgrade`: what it refuses before it looks at a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from airfleet.errors import AirfleetError, UsageError
from airfleet.workspace import airflow_version
from airfleet.workspace.airflow_version import Running
from airfleet.workspace.state_folder import StateFolder
from command_line import invoke
from places import NINE


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(NINE)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--to", "3.3.1", "--back"), "cannot be combined"),
        (("--to", "3.3.99"), "does not know Airflow 3.3.99"),
    ],
)
def test_what_cannot_be_is_refused_before_any_host_is_asked(project: Path, words: tuple[str, ...], what: str) -> None:
    error = invoke("upgrade", str(project), *words).exception
    assert isinstance(error, UsageError)
    assert what in error.what


def test_a_fleet_that_is_there_already_is_left_alone(project: Path) -> None:
    done = invoke("upgrade", str(project), "--yes", "--json")
    assert done.exit_code == 0
    assert '"changes": 0' in done.stdout


@pytest.mark.parametrize("verb", [("plan",), ("apply",), ("db", "restore", "--yes", "--to", "latest")])
def test_a_fleet_on_its_way_is_left_to_whoever_ends_it(
    project: Path, verb: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StateFolder(project / ".airfleet")
    folder.create()
    airflow_version.write(folder, Running("3.3.1", target="3.3.2", backup="b"))
    monkeypatch.chdir(project)
    error = invoke(*verb).exception
    assert isinstance(error, AirfleetError)
    assert "moving from Airflow 3.3.1 to 3.3.2" in error.what
