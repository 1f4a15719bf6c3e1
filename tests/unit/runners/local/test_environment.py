"""The environment of a project: made once from what the project wants, whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from airfleet.errors import AirfleetError
from airfleet.runners.local import environment
from airfleet.runners.local.environment import EnvironmentRecipe
from airfleet.workspace import python_packages
from airfleet.workspace.state_folder import StateFolder

RECIPE = EnvironmentRecipe(
    "/usr 3.12", "3.3.2", "idna==3.10 --hash=sha256:aaaa\n", "", (("airfleet/__init__.py", b"own = 1\n"),)
)
VERSION = ".".join(map(str, sys.version_info[:2]))


class Installer:
    """Replaces uv: makes the folder of an environment and records its arguments."""

    def __init__(self) -> None:
        self.ran: list[list[str]] = []
        self.dies_at = 0

    def __call__(self, argv: Sequence[str]) -> None:
        self.ran.append(list(argv))
        if self.dies_at == len(self.ran):
            raise AirfleetError("cannot install Airflow: killed")
        if argv[1] == "venv":
            (Path(argv[-1]) / "bin").mkdir(parents=True)
            (Path(argv[-1]) / "bin" / "python").symlink_to(sys.executable)


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> Installer:
    stand_in = Installer()
    monkeypatch.setattr(python_packages, "run", stand_in)
    return stand_in


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[StateFolder]:
    folder = StateFolder(tmp_path / ".airfleet")
    folder.create()
    yield folder


def ensure(recipe: EnvironmentRecipe, folder: StateFolder) -> Path:
    return environment.ensure(recipe, folder, lambda _: None)


def test_it_is_made_from_the_lock_with_hashes_and_holds_airfleet(installer: Installer, folder: StateFolder) -> None:
    python = ensure(RECIPE, folder)
    place = python.parents[1]
    assert "--require-hashes" in installer.ran[1]
    assert (place / "packages.txt").read_text() == RECIPE.packages
    assert (
        place / "lib" / f"python{VERSION}" / "site-packages" / "airfleet" / "__init__.py"
    ).read_bytes() == b"own = 1\n"


def test_it_is_made_once(installer: Installer, folder: StateFolder) -> None:
    assert environment.find(RECIPE, folder) is None
    python = ensure(RECIPE, folder)
    count = len(installer.ran)
    assert ensure(RECIPE, folder) == python == environment.find(RECIPE, folder)
    assert len(installer.ran) == count


@pytest.mark.parametrize(
    "change",
    [
        {"python": "/usr 3.12.1"},
        {"packages": "idna==3.11 --hash=sha256:bbbb\n"},
        {"requirements": "six==1.17.0\n"},
        {"own": (("airfleet/__init__.py", b"own = 2\n"),)},
        {"own": (("airfleet/__main__.py", b"own = 1\n"),)},
    ],
)
def test_whatever_goes_into_it_makes_another(installer: Installer, folder: StateFolder, change: dict[str, str]) -> None:
    assert ensure(replace(RECIPE, **change), folder) != ensure(RECIPE, folder)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [1, 2])
def test_what_was_cut_off_is_made_anew(installer: Installer, folder: StateFolder, step: int) -> None:
    installer.dies_at = step
    with pytest.raises(AirfleetError):
        ensure(RECIPE, folder)
    assert environment.find(RECIPE, folder) is None
    installer.dies_at = 0
    assert ensure(RECIPE, folder) == environment.find(RECIPE, folder)


def test_of_two_commands_that_need_it_one_makes_it(installer: Installer, folder: StateFolder) -> None:
    threads = [threading.Thread(target=ensure, args=(RECIPE, folder)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [argv[1] for argv in installer.ran].count("venv") == 1


def test_those_that_nobody_uses_are_removed_but_not_under_a_platform(installer: Installer, folder: StateFolder) -> None:
    old = ensure(RECIPE, folder).parents[1]
    long_ago = time.time() - environment.UNUSED_S - 60
    os.utime(old / environment.READY, (long_ago, long_ago))
    with folder.lock():
        recent = ensure(replace(RECIPE, requirements="six\n"), folder).parents[1]
    assert old.exists()
    newest = ensure(replace(RECIPE, requirements="seven\n"), folder).parents[1]
    assert not old.exists()
    assert recent.exists()
    assert newest.exists()


def test_one_whose_removal_was_cut_off_is_made_anew(
    installer: Installer, folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ensure(RECIPE, folder).parents[1]
    long_ago = time.time() - environment.UNUSED_S - 60
    os.utime(old / environment.READY, (long_ago, long_ago))

    def die(place: Path, **_: object) -> None:
        (place / "packages.txt").unlink(missing_ok=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            environment.prune(old.parent, keep=old.parent / "another", now=time.time())
    assert environment.find(RECIPE, folder) is None
    ensure(RECIPE, folder)
    assert (old / "packages.txt").exists()


def test_where_airflow_is_beside_nothing_is_made(installer: Installer, folder: StateFolder, tmp_path: Path) -> None:
    assert environment.is_beside(), "the tests run in the .venv of a clone"
    environment.enter(tmp_path, None, folder, lambda _: None)
    assert installer.ran == []


def test_a_command_goes_on_in_the_environment_with_the_same_words(
    installer: Installer, folder: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(environment, "is_beside", lambda: False)
    monkeypatch.setattr(os, "execve", lambda path, argv, env: became.append(argv))
    monkeypatch.setattr(sys, "argv", ["airfleet", "up", "--detach"])
    (tmp_path / "requirements.txt").write_text("six==1.17.0\n")
    told: list[str] = []
    environment.enter(tmp_path, None, folder, told.append)
    ((python, *words),) = became
    assert words[-3:] == ["airfleet", "up", "--detach"]
    assert Path(python).parents[2] == folder.root / environment.FOLDER
    assert "no hashes" in told[-1]
