"""Both wheels in an empty environment: what somebody has who never cloned the repository."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
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
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command. What uv has in its cache is not downloaded again."""
    folder = tmp_path_factory.mktemp("wheels")
    for source in (ROOT, ROOT / "provider"):
        uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder, source)
    uv("venv", "--python", sys.executable, folder / "venv")
    python = folder / "venv" / "bin" / "python"
    lock = ROOT / "constraints" / "airflow-3.3.2.txt"
    uv("pip", "install", "--python", python, "--constraint", lock, *folder.glob("*.whl"))
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
    for verb in ("plan", "apply", "release", "workers", "upgrade", "drill", "db"):
        done = run(program, project, verb, "--help")
        assert (done.returncode, done.stderr) == (0, ""), verb


@pytest.mark.parametrize("words", [["plan"], ["release", "check"]])
def test_a_fleet_is_reached_for_with_the_locks_inside(program: Path, project: Path, words: list[str]) -> None:
    done = run(program, project, *words)
    assert "127.0.0.1:1 does not answer" in done.stderr, "it came as far as the host"
    assert "Traceback" not in done.stderr


def test_a_python_without_a_lock_is_refused_by_the_installer() -> None:
    for name in ("airfleet", "airfleet-provider"):
        assert set(metadata.metadata(name)["Requires-Python"].split(",")) == {">=3.11", "<3.14"}
