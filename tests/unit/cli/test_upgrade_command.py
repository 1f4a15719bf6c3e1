"""`airfleet upgrade`: what it refuses before it looks at a host."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from airfleet.cli.main import cli
from airfleet.cli.upgrade import command
from airfleet.errors import AirfleetError, UsageError
from airfleet.workspace import airflow_version
from airfleet.workspace.airflow_version import Running
from airfleet.workspace.state_folder import StateFolder
from places import NINE


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(NINE)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--to", "3.3.1", "--back"), "two ways at once"),
        (("--to", "3.3.99"), "does not know Airflow 3.3.99"),
    ],
)
def test_what_cannot_be_is_refused_before_any_host_is_asked(project: Path, words: tuple[str, ...], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        CliRunner().invoke(command, [str(project), *words], catch_exceptions=False)


def test_a_fleet_that_is_there_already_is_left_alone(project: Path) -> None:
    done = CliRunner().invoke(command, [str(project), "--yes", "--json"], catch_exceptions=False)
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
    with pytest.raises(AirfleetError, match=r"on its way from Airflow 3\.3\.1 to 3\.3\.2"):
        CliRunner().invoke(cli, verb, catch_exceptions=False)
