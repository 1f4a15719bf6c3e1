"""What is built is whole: a user has the wheel and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

import airfleet
from airfleet.workspace import python_packages

ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, pkgutil, sys
import airfleet
for module in pkgutil.walk_packages(airfleet.__path__, "airfleet."):
    if not module.name.startswith(("airfleet.skeleton", "airfleet.drills.project", "airfleet.__main__")):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            # The extra airfleet[libvirt] needs a library of the system, which few machines have.
            if (module.name, error.name) != ("airfleet.operations.machines.libvirt", "libvirt"):
                raise
for name, module in sorted(sys.modules.items()):
    if name.partition(".")[0] in ("airfleet", "airfleet_provider"):
        print(module.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of airfleet, built from this folder in about two seconds."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def provider(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the provider, as it lies in airfleet's."""
    folder = tmp_path_factory.mktemp("provider")
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.startswith("airfleet/wheels/"))
        return Path(archive.extract(name, folder))


def list_files(folder: Path) -> set[str]:
    """The files of a folder, those behind a link too, that no run has left there."""
    found = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
        found |= {str((Path(here) / name).relative_to(folder)) for name in names if not name.endswith(".pyc")}
    return found


def read_names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def read_metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_all_files_of_the_control_side_and_all_locks_are_in_the_wheel(wheel: Path) -> None:
    names = read_names(wheel)
    assert {f"airfleet/{name}" for name in list_files(ROOT / "src" / "airfleet")} <= names
    assert "airfleet/components/postgresql/adopt_data.sh" in names
    assert {f"airfleet/constraints/{name}" for name in list_files(ROOT / "constraints")} <= names


def test_all_files_of_the_provider_are_in_its_wheel(provider: Path) -> None:
    assert list_files(ROOT / "provider" / "src") <= read_names(provider)


def test_both_have_one_version_and_the_licence(wheel: Path, provider: Path) -> None:
    for one in (wheel, provider):
        said = read_metadata(one)
        assert said["Version"] == airfleet.__version__
        assert said["License-Expression"] == "Apache-2.0"
        assert any(name.endswith("licenses/LICENSE") for name in read_names(one))
        assert set(said["Requires-Python"].split(",")) == {">=3.11", "<3.14"}


def test_the_command_brings_no_airflow_into_the_environment_of_others(wheel: Path) -> None:
    needed = {re.split(r"[\[<>=; ]", line)[0] for line in read_metadata(wheel).get_all("Requires-Dist", [])}
    assert not {name for name in needed if name.startswith(("apache-airflow", "airfleet", "sqlalchemy", "celery"))}


def test_every_module_of_the_command_can_be_imported_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    # The folder comes before the .venv, whose packages of the same names are then not looked at.
    environment = {"PATH": os.defpath, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-P", "-c", IMPORT_ALL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(Path(line).is_relative_to(tmp_path) for line in done.stdout.splitlines())


def test_the_provider_inside_is_what_is_installed_in_a_clone(
    wheel: Path, provider: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = python_packages.read_provider()
    monkeypatch.setattr(python_packages, "WHEELS", provider.parent)
    # The archive of Airflow that hosts get has the same name, whoever made it.
    assert python_packages.read_provider() == installed


def test_the_wheel_is_the_same_each_time(wheel: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert next(tmp_path.glob("*.whl")).read_bytes() == wheel.read_bytes()
