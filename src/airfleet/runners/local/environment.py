"""The Python environment that a platform on this machine runs in.

Where Airflow and the provider are installed beside airfleet, as in the .venv of a clone, it is that one. Elsewhere, as
after `uv tool install airfleet`, airfleet makes one in the state folder: the locked Airflow, the project's
requirements, the provider and airfleet itself. The command then goes on in it.

An environment is named after all that goes into it. It is made whole before its first use, and not changed after that.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from airfleet.errors import AirfleetError
from airfleet.workspace import airflow_version, file_lock, python_packages
from airfleet.workspace.state_folder import StateFolder

FOLDER = "environments"
READY = "ready"
# A test run or a check may still work in an environment that no platform uses.
UNUSED_S = 86_400.0
BESIDE = ("apache-airflow-core", python_packages.PROVIDER)


@dataclass(frozen=True, slots=True)
class EnvironmentRecipe:
    """What goes into one environment: a Python, the newest tested Airflow, and airfleet's two distributions."""

    python: str
    airflow: str
    packages: str
    requirements: str
    own: python_packages.Files

    @property
    def digest(self) -> str:
        """The name of the environment; another content has another name."""
        return python_packages.compute_digest((self.python, self.packages, self.requirements), self.own)


def is_beside() -> bool:
    """Whether this process runs where a platform can run: Airflow and the provider are installed beside airfleet."""
    try:
        for name in BESIDE:
            metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def read_recipe(project: Path, requirements: str | None) -> EnvironmentRecipe:
    """What the environment of this project consists of.

    Raises AirfleetError for a requirements file that does not exist.
    """
    airflow, lock = [*airflow_version.find_locks().items()][-1]
    own = python_packages.read_installed("airfleet", "airfleet") + python_packages.read_provider()
    return EnvironmentRecipe(
        # Another patch version may be in another folder, and then the links of an environment lead nowhere.
        python=f"{sys.base_prefix} {sys.version}",
        airflow=airflow,
        packages=lock.read_text(),
        requirements=python_packages.read_requirements(project, requirements),
        own=own,
    )


def find(recipe: EnvironmentRecipe, folder: StateFolder) -> Path | None:
    """The Python of the environment that was made from a recipe; None when it was not made yet."""
    place = folder.root / FOLDER / recipe.digest
    return _python(place) if (place / READY).exists() else None


def enter(project: Path, requirements: str | None, folder: StateFolder, tell: Callable[[str], None]) -> None:
    """Go on where Airflow is: return when it is beside airfleet; otherwise run this same command in an environment.

    The environment is made when there is none. A caller that reaches the next line has Airflow beside it. Raises
    AirfleetError when the environment cannot be made.
    """
    if is_beside():
        return
    recipe = read_recipe(project, requirements)
    folder.create()
    python = ensure(recipe, folder, tell)
    if Path(sys.prefix) == python.parents[1]:
        raise AirfleetError("this environment has lost Airflow", where=sys.prefix, hint="remove the folder")
    # -P: no module of the folder that the user is in takes the place of another.
    os.execve(python, [str(python), "-P", "-m", "airfleet", *sys.argv[1:]], os.environ)


def ensure(recipe: EnvironmentRecipe, folder: StateFolder, tell: Callable[[str], None]) -> Path:
    """The Python of the environment of a recipe, made now unless it is there. Of two that ask, one makes it."""
    root = folder.root / FOLDER
    root.mkdir(exist_ok=True)
    place = root / recipe.digest
    with file_lock.wait_and_hold(root / "lock"):
        if not (place / READY).exists():
            tell(f"installing Airflow {recipe.airflow} for Python {_version()} into {place}: once for this project")
            _make(recipe, place, tell)
            if not folder.is_held():
                prune(root, keep=place, now=time.time())
        # Within the lock: another command may remove what nobody has entered lately.
        os.utime(place / READY)
    return _python(place)


def prune(root: Path, *, keep: Path, now: float) -> None:
    """Remove the environments that nobody entered for a day, all but one. No platform may be up."""
    for place in root.iterdir():
        if place == keep or not place.is_dir():
            continue
        with suppress(FileNotFoundError):  # what a kill left half made has no mark
            if now - (place / READY).stat().st_mtime < UNUSED_S:
                continue
            # First of all: after a kill in the middle of the rest, a mark would say that all of it is there.
            (place / READY).unlink()
        shutil.rmtree(place)


def _make(recipe: EnvironmentRecipe, place: Path, tell: Callable[[str], None]) -> None:
    # What is there was left by a kill.
    shutil.rmtree(place, ignore_errors=True)
    uv = python_packages.find_uv()
    python = _python(place)
    python_packages.run([uv, "venv", "--quiet", "--python", sys.executable, str(place)])
    lock, requirements = place / "packages.txt", place / "requirements.txt"
    lock.write_text(recipe.packages)
    requirements.write_text(recipe.requirements)
    command = (uv, "pip", "install", "--quiet", "--python", str(python), "--compile-bytecode")
    python_packages.install(command, lock, requirements, tell)
    packages = place / "lib" / f"python{_version()}" / "site-packages"
    python_packages.write_files(packages, recipe.own)
    python_packages.run([str(python), "-m", "compileall", "-q", *map(str, packages.glob("airfleet*"))])
    # After a loss of power, the mark must not be there without the files.
    os.sync()
    (place / READY).touch()


def _version() -> str:
    return ".".join(map(str, sys.version_info[:2]))


def _python(place: Path) -> Path:
    return place / "bin" / "python"
