"""The wheel in an empty environment, as a user without a clone of the repository installs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from airfleet.cli.main import VERBS
from deadline import PATIENCE_S
from installed import build_wheel, install

pytestmark = pytest.mark.local

# All in one process, as each would import the same modules for most of a second.
ASK_ALL = """
from airfleet.cli.main import VERBS, cli

for verb in VERBS:
    cli([verb, "--help"], prog_name="airfleet", standalone_mode=False)
"""
# Nobody listens there.
FLEET = "ssh: {port: 1}\nhosts:\n  one: {address: 127.0.0.1}\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module", params=["lock", "lowest-direct", "highest"])
def program(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command with the versions of its lock, and with the oldest and the newest dependencies that it allows."""
    return install(wheel, tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(FLEET)
    return tmp_path


def run(program: Path, project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(project)}
    return subprocess.run(
        [str(program), *words],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_every_command_can_be_asked_for_help(program: Path, project: Path) -> None:
    assert "Usage" in run(program, project, "--help").stdout
    done = run(program.with_name("python"), project, "-I", "-c", ASK_ALL)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Usage: airfleet ") == len(VERBS)


@pytest.mark.parametrize("words", [["plan"], ["release", "check"]])
def test_a_fleet_is_reached_for_with_the_locks_inside(program: Path, project: Path, words: list[str]) -> None:
    done = run(program, project, *words)
    assert "127.0.0.1:1 does not answer" in done.stderr, "it came as far as the host"
    assert "Traceback" not in done.stderr


def test_a_mistake_in_fleet_yaml_is_told_with_its_line(program: Path, project: Path) -> None:
    (project / "fleet.yaml").write_text("name: shop\nparallelism: 0\n")
    done = run(program, project, "plan")
    assert done.returncode == 2
    assert "fleet.yaml:2: parallelism" in done.stderr


def test_doctor_says_that_airflow_will_be_installed_and_makes_nothing(program: Path, project: Path) -> None:
    (project / "fleet.yaml").write_text("name: shop\n")
    assert "will install" in (shown := run(program, project, "doctor").stdout) and "from its lock" in shown
    assert not (project / ".airfleet").exists()
