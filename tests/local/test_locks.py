"""The locks install what they say, and what they install runs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from airfleet.components.api_server import ROUTES
from airfleet.components.image import MODULES

pytestmark = pytest.mark.local

ROOT = Path(__file__).parents[2]
LOCKS = [*sorted((ROOT / "constraints").glob("*.txt")), ROOT / "examples" / "flights" / "requirements.txt"]
UV = Path(sys.executable).with_name("uv")
# What airfleet configures or may configure: the components, the executors, the auth manager, every provider.
COMPONENTS = (
    *MODULES,
    *ROUTES,
    "airflow.providers.celery.executors.celery_executor",
    "airflow.providers.celery.cli.celery_command",
    "airflow.providers.openlineage.plugins.openlineage",
    "airflow.providers.postgres.hooks.postgres",
    "airflow.providers.slack.notifications.slack",
    "airflow.providers.smtp.notifications.smtp",
    "airflow.providers.standard.operators.bash",
)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_every_package_with_a_hash_and_names_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "index-url" not in text
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert "==" in block.splitlines()[0], block
        assert "--hash=sha256:" in block, block


def test_the_lock_holds_all_that_both_distributions_depend_on() -> None:
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "constraints/airflow-3.3.2.txt").read_text(), re.MULTILINE))
    for project in (ROOT / "pyproject.toml", ROOT / "provider" / "pyproject.toml"):
        body = tomllib.loads(project.read_text())
        needed = [*body["project"].get("dependencies", []), *body["build-system"]["requires"]]
        assert {re.split(r"[\[<>=;]", name)[0] for name in needed} <= pinned


def test_every_version_of_the_lock_of_the_command_is_the_platforms_and_within_the_ranges() -> None:
    def read(name: str) -> dict[str, str]:
        found = re.findall(r"^([a-z0-9-]+)==([\w.]+)", (ROOT / "constraints" / name).read_text(), re.MULTILINE)
        return dict(found)

    platform, control = read("airflow-3.3.2.txt"), read("control.txt")
    assert control.items() <= platform.items()
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(control[wanted.name]), line


def test_what_the_lock_installs_imports_every_component(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    run(
        UV,
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "--require-hashes",
        "-r",
        ROOT / "constraints" / "airflow-3.3.2.txt",
    )
    imports = "\n".join(f"import {name.partition(':')[0]}" for name in COMPONENTS)
    # The provider comes from this repository; what it imports comes from the lock.
    environment = {"AIRFLOW_HOME": str(tmp_path / "airflow"), "PYTHONPATH": str(ROOT / "provider" / "src")}
    done = subprocess.run(
        [python, "-c", imports],
        env={**environment, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def run(*argv: object) -> None:
    subprocess.run([str(word) for word in argv], check=True)
