"""The wheel in an empty environment, as a user without a clone of the repository installs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.local

ROOT = Path(__file__).parents[2]
UV = Path(sys.prefix) / "bin" / "uv"
# Nobody listens there.
FLEET = "ssh: {port: 1}\nhosts:\n  one: {address: 127.0.0.1}\n"


def uv(*words: object) -> None:
    subprocess.run([str(UV), *map(str, words)], check=True, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder, ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module", params=["lock", "oldest", "newest"])
def program(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command with the versions of its lock, and with the oldest and newest dependencies that it allows.

    What uv has in its cache is not downloaded again.
    """
    folder = tmp_path_factory.mktemp(request.param)
    python = folder / "venv" / "bin" / "python"
    uv("venv", "--python", sys.executable, folder / "venv")
    install = ("pip", "install", "--python", python)
    if request.param == "lock":
        uv(*install, "--require-hashes", "--requirement", ROOT / "constraints" / "control.txt")
        uv(*install, "--offline", "--no-deps", wheel)
    else:
        resolution = "lowest-direct" if request.param == "oldest" else "highest"
        uv(*install, "--resolution", resolution, wheel)
    return folder / "venv" / "bin" / "airfleet"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    (tmp_path / "fleet.yaml").write_text(FLEET)
    return tmp_path


def run(program: Path, project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(project)}
    return subprocess.run(
        [str(program), *words], cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_every_command_can_be_asked_for_help(program: Path, project: Path) -> None:
    assert "Usage" in run(program, project, "--help").stdout
    for verb in ("up", "test", "plan", "apply", "release", "workers", "upgrade", "drill", "db"):
        done = run(program, project, verb, "--help")
        assert (done.returncode, done.stderr) == (0, ""), verb


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
