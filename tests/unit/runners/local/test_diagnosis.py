"""What `doctor` makes of a machine and a project."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from airfleet.runners.local import diagnosis, environment, launch, ports, rabbitmq
from airfleet.workspace import airflow_version
from airfleet.workspace.diagnosis import LEAST_FREE_BYTES, Diagnosis
from airfleet.workspace.project import find_state
from airfleet.workspace.state_folder import StateFolder

GOOD = {"apache-airflow-core": "3.3.2", "celery": "5.6.3", "sqlalchemy": "2.0.51"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(f"name: flights\nports: {{api: {ports.find_free()}}}\n")
    return tmp_path


def examine(project: Path) -> dict[str, Diagnosis]:
    return {finding.subject: finding for finding in diagnosis.examine(project, find_state(project, None))}


def levels(found: dict[str, Diagnosis]) -> dict[str, str]:
    return {subject: finding.level for subject, finding in found.items()}


@pytest.mark.parametrize(
    ("version", "level"), [((3, 10), "error"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "error")]
)
def test_python(version: tuple[int, int], level: str) -> None:
    assert diagnosis.judge_python(version).level == level


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        ({"celery": None}, ["celery"]),
        ({"sqlalchemy": "2.1.0", "apache-airflow-core": "3.4.0"}, ["apache-airflow-core", "sqlalchemy"]),
        ({"celery": "5.60.1"}, ["celery"]),
    ],
)
def test_versions(changes: dict[str, str | None], wrong: list[str]) -> None:
    found = list(diagnosis.judge_versions({**GOOD, **changes}.get))
    assert [finding.subject for finding in found if finding.level == "error"] == wrong
    assert all(finding.hint for finding in found if finding.level != "ok")


def test_requirements_name_what_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "# made by uv\ncelery==5.6.3\nsqlalchemy==1.4 ; python_version > '3'\nabsent==1  # why\n--no-index\n./own\n"
        "celery==1 ; python_version < '3'\nnowhere==1 ; sys_platform == 'win32'\ncelery[redis]>5 \\\n"
        "    --hash=sha256:00 \\\n    --hash=sha256:01\n"
    )
    found = list(diagnosis.judge_requirements(tmp_path / "requirements.txt", GOOD.get))
    assert [finding.level for finding in found] == ["error"]
    assert found[0].what == "sqlalchemy 2.0.51, not 1.4; absent absent, not 1"


def test_the_file_that_fleet_yaml_names_is_read(project: Path) -> None:
    (project / "fleet.yaml").write_text("name: flights\nrequirements: more.txt\n")
    (project / "more.txt").write_text("absent==1\n")
    assert examine(project)["more.txt"].level == "error"


def test_celery_needs_a_broker_on_the_machine(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "RabbitMQ" not in examine(project)
    (project / "fleet.yaml").write_text("executor: celery\n")
    monkeypatch.setattr(rabbitmq, "PLAIN", project / "absent")
    monkeypatch.setenv("PATH", "")
    found = examine(project)["RabbitMQ"]
    assert (found.level, "apt-get install rabbitmq-server" in found.hint) == ("error", True)


SECRETS = """
name: flights
connections:
  crm: {type: http, host: crm.example.com, password: {env: CRM_PASSWORD}}
  dwh: {uri: {file: secrets/dwh}}
variables: {key: {command: [cat, key]}}
notifications: {receivers: {team: {type: webhook, url: {env: HOOK}}}}
"""


def test_secrets_that_the_next_start_cannot_fetch_are_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "fleet.yaml").write_text(SECRETS)
    monkeypatch.delenv("CRM_PASSWORD", raising=False)
    monkeypatch.setenv("HOOK", "http://127.0.0.1/hook")
    found = examine(project)
    assert found["connections.crm.password"].what == "the environment variable CRM_PASSWORD is not set"
    assert "export CRM_PASSWORD" in found["connections.crm.password"].hint
    assert "secrets/dwh cannot be read" in found["connections.dwh.uri"].what
    assert "secrets" not in found
    assert not {"variables.key", "notifications.receivers.team"} & found.keys()


def test_no_command_is_run_to_see_whether_secrets_can_be_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_PASSWORD", "x")
    (project / "fleet.yaml").write_text("env: {A: {env: CRM_PASSWORD}}\nvariables: {key: {command: [touch, run]}}\n")
    assert examine(project)["secrets"].what == "1 secret of fleet.yaml read; 1 command of secrets not run"
    assert not (project / "run").exists()


def test_requirements_of_many_are_summed_up(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("".join(f"p{number}==1\n" for number in range(5)))
    (found,) = diagnosis.judge_requirements(tmp_path / "requirements.txt", GOOD.get)
    assert found.what.endswith("and 2 more")


@pytest.mark.parametrize(
    ("judge", "value", "level"),
    [
        (lambda free: diagnosis.judge_space(Path("/srv"), free), LEAST_FREE_BYTES, "ok"),
        (lambda free: diagnosis.judge_space(Path("/srv"), free), launch.LEAST_FREE_BYTES, "warning"),
        (lambda free: diagnosis.judge_space(Path("/srv"), free), launch.LEAST_FREE_BYTES - 1, "error"),
        (diagnosis.judge_memory, 8 << 30, "ok"),
        (diagnosis.judge_memory, 1 << 30, "warning"),
        (diagnosis.judge_clock, 1_800_000_000, "ok"),
        (diagnosis.judge_clock, 0, "error"),
        (diagnosis.judge_user, 1000, "ok"),
        (diagnosis.judge_user, 0, "warning"),
    ],
)
def test_the_machine(judge: Callable[[int], Diagnosis], value: int, level: str) -> None:
    found = judge(value)
    assert found.level == level
    assert bool(found.hint) is (level != "ok")


def test_a_folder_that_cannot_be_written() -> None:
    assert diagnosis.judge_folder(Path("/srv"), True).level == "ok"
    assert "--state" in diagnosis.judge_folder(Path("/srv"), False).hint


def test_a_good_project_has_no_error_and_nothing_is_made(project: Path) -> None:
    before = sorted(project.iterdir())
    found = examine(project)
    assert "error" not in levels(found).values()
    assert found["fleet.yaml"].what == "fleet 'flights'"
    assert sorted(project.iterdir()) == before


def test_a_bad_project_is_told_everything_at_once(project: Path) -> None:
    (project / "fleet.yaml").write_text("nmae: x\nparallelism: 0\n")
    (project / "requirements.txt").write_text("absent==1\n")
    (project / ".airfleet").mkdir()
    (project / ".airfleet" / "instance.json").write_text('{"layout": 99}')
    found = examine(project)
    assert {subject for subject, level in levels(found).items() if level == "error"} == {
        "fleet.yaml",
        "requirements.txt",
        "state folder",
    }
    assert "nmae" in found["fleet.yaml"].what
    assert "parallelism" in found["fleet.yaml"].what


def test_a_taken_port_is_an_error_unless_this_platform_has_it(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (project / "fleet.yaml").write_text(f"ports: {{api: {listener.getsockname()[1]}}}\n")
        assert examine(project)["ports.api"].level == "error"
        folder = find_state(project, None)
        folder.create()
        with folder.lock():
            found = examine(project)
            assert found["ports"].level == "ok"
            assert "ports.api" not in found


def test_garbage_in_the_state_folder_is_a_finding_and_no_crash(project: Path) -> None:
    (project / ".airfleet").mkdir()
    (project / ".airfleet" / "instance.json").write_text("[1")
    assert examine(project)["state folder"].level == "error"


def test_a_fresh_clone_has_what_its_example_wants() -> None:
    path = Path(__file__).parents[4] / "examples" / "flights" / "requirements.txt"
    assert [found.level for found in diagnosis.judge_requirements(path, diagnosis._installed)] == ["ok"]


def test_what_is_missing_is_named_once_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A platform's packages beside airfleet, without the embedded PostgreSQL and with another SQLAlchemy."""
    monkeypatch.setattr(environment, "is_beside", lambda: True)
    monkeypatch.setattr(launch, "find_spec", lambda _: None)
    monkeypatch.setattr(diagnosis, "_installed", {"sqlalchemy": "2.1.9"}.get)
    found = {one.subject: one for one in diagnosis.examine(tmp_path, StateFolder(tmp_path / "state"))}
    assert found["sqlalchemy"].what == "2.1.9 is not 2.0.x"
    assert found["PostgreSQL"].what == "the embedded PostgreSQL is not installed"
    lock = [*airflow_version.find_locks().values()][-1]
    for name in ("celery", "sqlalchemy", "PostgreSQL"):
        assert found[name].hint.endswith(f"--require-hashes --requirement {lock}"), name
