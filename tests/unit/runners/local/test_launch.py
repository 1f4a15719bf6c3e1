"""From a project folder to a launch: refusals, and the environment of the processes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from airfleet.components.model import reveal
from airfleet.errors import AirfleetError, UsageError
from airfleet.runners.local import inherited, launch, ports
from airfleet.workspace.project import find_project, find_state, read_fleet
from airfleet.workspace.state_folder import StateFolder

CALLER = {
    "PATH": "/usr/bin",
    "AIRFLOW__CORE__PARALLELISM": "1",
    "AIRFLOW_HOME": "/elsewhere",
    "AIRFLEET_INSTANCE": "other",
    "PYTHONPATH": "/lib",
}


@pytest.fixture
def project() -> Iterator[Path]:
    # pytest's own temporary folders are closed to the user as which root runs PostgreSQL.
    with tempfile.TemporaryDirectory(prefix="airfleet-test-") as folder:
        Path(folder).chmod(0o755)
        project = Path(folder) / "project"
        (project / "dags").mkdir(parents=True)
        yield project


def prepare(project: Path, fleet: str = "") -> launch.Launch:
    (project / "fleet.yaml").write_text(fleet or f"ports: {{api: {ports.find_free()}}}")
    folder = find_state(project, None)
    folder.create()
    with folder.lock():
        return launch.prepare(read_fleet(project), project, folder, drain_s=5)


def fake_postgres(folder: Path, script: str) -> Path:
    program = folder / "postgres"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return folder


def test_a_project_is_a_folder_with_dags(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parent)
    assert find_project(Path("project")) == project


@pytest.mark.parametrize(("name", "words"), [("none", "no such project folder"), ("project/dags", "no dags/ folder")])
def test_anything_else_is_refused_with_a_hint(project: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        find_project(project.parent / name)
    assert "dags" in caught.value.hint


def test_the_state_is_beside_the_dags_unless_another_folder_is_named(project: Path, tmp_path: Path) -> None:
    assert find_state(project, None).root == project / ".airfleet"
    assert find_state(project, tmp_path / "other").root == tmp_path / "other"


def test_the_environment_is_the_callers_without_airflow_and_with_the_project(project: Path) -> None:
    environment = inherited.build_environment(CALLER, {"REGION": "eu", "PATH": "/own"}, project, project / "state")
    assert environment == {
        "PATH": "/own",
        "REGION": "eu",
        "AIRFLOW_HOME": str(project / "state" / "airflow"),
        "AIRFLEET_PROJECT": str(project),
        "AIRFLEET_STATE": str(project / "state"),
        "PYTHONPATH": f"{project}{os.pathsep}/lib",
        "PYTHONUNBUFFERED": "1",
    }


def test_without_a_python_path_there_is_no_empty_entry(project: Path) -> None:
    # An empty entry would put the working folder of every process on its path.
    assert inherited.build_environment({}, {}, project, project)["PYTHONPATH"] == str(project)


def test_fleet_yaml_cannot_move_airflows_home(project: Path) -> None:
    environment = inherited.build_environment({}, {"AIRFLOW_HOME": "/elsewhere"}, project, project)
    assert environment["AIRFLOW_HOME"] == str(project / "airflow")


def test_the_version_of_postgres_is_asked_of_the_program(tmp_path: Path) -> None:
    assert launch.postgres_version(fake_postgres(tmp_path, "echo 'postgres (PostgreSQL) 17.2'")) == "17"
    assert launch.postgres_version(launch.find_postgres()).isdigit()


@pytest.mark.parametrize(
    ("script", "what", "hint"),
    [
        (
            "echo 'postgres: error while loading shared libraries: libicu.so.72: cannot open shared object file' >&2;"
            " exit 127",
            "libicu.so.72",
            "install the package that has libicu.so.72",
        ),
        ("exit 3", "exit code 3", ""),
        ("echo one >&2; echo 'bad CPU' >&2; exit 1", "bad CPU", ""),
    ],
)
def test_a_postgres_that_does_not_run_says_why(tmp_path: Path, script: str, what: str, hint: str) -> None:
    with pytest.raises(AirfleetError, match="cannot run PostgreSQL") as caught:
        launch.postgres_version(fake_postgres(tmp_path, script))
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert caught.value.where == str(tmp_path / "postgres")


def test_a_postgres_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(AirfleetError, match="No such file"):
        launch.postgres_version(tmp_path)


def test_a_launch_is_ready_and_repeatable(project: Path) -> None:
    first, second = prepare(project), prepare(project)
    folder = StateFolder(project / ".airfleet")
    assert first.credentials == second.credentials
    assert first.site.instance == second.site.instance
    assert first.environment["AIRFLEET_INSTANCE"] == second.environment["AIRFLEET_INSTANCE"] == folder.name_processes()
    assert folder.read_dsn() == second.site.dsn("airflow", "airflow", second.credentials.airflow)


@pytest.mark.parametrize(
    "fleet",
    [
        "variables: {token: {env: AIRFLEET_TEST_UNSET}}",
        "connections: {crm: {type: http, password: {file: secrets/none}}}",
        "env: {TOKEN: {command: [false]}}",
    ],
)
def test_a_secret_that_cannot_be_had_stops_it_before_it_starts(project: Path, fleet: str) -> None:
    with pytest.raises(UsageError):
        prepare(project, f"ports: {{api: {ports.find_free()}}}\n{fleet}")


def test_secrets_are_resolved_and_show_nowhere(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_PASSWORD", "hunter2")
    made = prepare(
        project,
        f"ports: {{api: {ports.find_free()}}}\n"
        "connections: {crm: {type: http, host: crm, password: {env: CRM_PASSWORD}}}\n",
    )
    inputs = [file for one in made.components for process in one.processes for file in process.inputs]
    assert "hunter2" in reveal(next(file for file in inputs if file.path.name == "connections.json").content)
    assert "hunter2" not in repr(made.components)


def test_data_of_another_postgres_is_refused_before_anything_changes(project: Path) -> None:
    prepare(project)
    instance = project / ".airfleet" / "instance.json"
    other = instance.read_text().replace(
        f'"postgres": "{launch.postgres_version(launch.find_postgres())}"', '"postgres": "9"'
    )
    instance.write_text(other)
    with pytest.raises(AirfleetError, match="holds data of PostgreSQL 9"):
        prepare(project)
    assert instance.read_text() == other


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_a_folder_that_postgres_cannot_get_through_is_named(project: Path) -> None:
    project.parent.chmod(0o700)
    with pytest.raises(AirfleetError, match="PostgreSQL cannot enter this folder") as caught:
        prepare(project)
    assert caught.value.where == str(project.parent)
    assert f"chmod o+x {project.parent}" in caught.value.hint


def test_tasks_are_not_given_what_the_caller_keeps_in_his_environment() -> None:
    caller = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "https_proxy": "http://proxy",
        "SSH_AUTH_SOCK": "/tmp/agent",
        "AWS_SECRET_ACCESS_KEY": "x",
        "CRM_PASSWORD": "y",
        "PGPASSWORD": "z",
    }
    assert inherited.choose_inherited(caller) == {"PATH": "/bin", "LC_ALL": "C", "https_proxy": "http://proxy"}


def test_a_platform_is_prepared_without_the_caller_s_secrets(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_PASSWORD", "hunter2")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    made = prepare(
        project,
        f"ports: {{api: {ports.find_free()}}}\n"
        "connections: {crm: {type: http, host: crm, password: {env: CRM_PASSWORD}}}\n"
        "env: {REGION: eu}\n",
    )
    assert "hunter2" not in made.environment.values()
    assert "SSH_AUTH_SOCK" not in made.environment
    assert made.environment["REGION"] == "eu"


def test_the_password_of_a_directory_goes_with_the_directory(project: Path) -> None:
    secrets = find_state(project, None).secrets
    secrets.mkdir(mode=0o700, parents=True)
    names = ("directory.json", "webserver_config.py")
    for name in names:
        (secrets / name).write_text("of an earlier fleet.yaml")
    prepare(project)
    assert [name for name in names if (secrets / name).exists()] == []
