"""The Python environment of a platform on this machine (ADR 26).

If Airflow and the provider are installed beside airfleet, as in the .venv of a clone, the platform uses that
environment. Otherwise, as after `uv tool install airfleet`, airfleet makes one in the state folder. It contains the
locked Airflow, the project's requirements, the provider and airfleet itself. The command then continues in it.

The name of an environment is a digest of its content. It is complete before its first use, and never changes.
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
# The age in seconds at which an unused environment is removed. A test run or a check may still use a younger one.
UNUSED_S = 86_400.0
BESIDE = ("apache-airflow-core", python_packages.PROVIDER)


@dataclass(frozen=True, slots=True)
class EnvironmentRecipe:
    """The content of one environment: a Python, the newest tested Airflow, and airfleet's two distributions."""

    python: str
    airflow: str
    packages: str
    requirements: str
    own: python_packages.Files

    @property
    def digest(self) -> str:
        """Return the name of the environment. Another content has another name."""
        return python_packages.compute_digest((self.python, self.packages, self.requirements), self.own)


def is_beside() -> bool:
    """Return whether Airflow and the provider are installed beside airfleet, so that a platform can run here."""
    try:
        for name in BESIDE:
            metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def read_recipe(project: Path, requirements: str | None) -> EnvironmentRecipe:
    """Return the recipe of this project's environment.

    Raises:
        AirfleetError: fleet.yaml names a requirements file that does not exist.
    """
    airflow, lock = [*airflow_version.find_locks().items()][-1]
    own = python_packages.read_installed("airfleet", "airfleet") + python_packages.read_provider()
    return EnvironmentRecipe(
        # Another patch version of Python may be in another folder. Then the links of an environment would be broken.
        python=f"{sys.base_prefix} {sys.version}",
        airflow=airflow,
        packages=lock.read_text(),
        requirements=python_packages.read_requirements(project, requirements),
        own=own,
    )


def find(recipe: EnvironmentRecipe, folder: StateFolder) -> Path | None:
    """Return the Python of the environment of a recipe, or None if it does not exist yet."""
    place = folder.root / FOLDER / recipe.digest
    return _python(place) if (place / READY).exists() else None


def enter(project: Path, requirements: str | None, folder: StateFolder, tell: Callable[[str], None]) -> None:
    """Make sure that Airflow is beside this process. Return if it is; otherwise run this command in an environment.

    The environment is made if it does not exist. Then this process is replaced and the function does not return.

    Raises:
        AirfleetError: The environment cannot be made.
    """
    if is_beside():
        return
    recipe = read_recipe(project, requirements)
    folder.create()
    python = ensure(recipe, folder, tell)
    if Path(sys.prefix) == python.parents[1]:
        raise AirfleetError("this environment has lost Airflow", where=sys.prefix, hint="remove the folder")
    # With -P, Python does not import modules from the working folder of the user.
    os.execve(python, [str(python), "-P", "-m", "airfleet", *sys.argv[1:]], os.environ)


def ensure(recipe: EnvironmentRecipe, folder: StateFolder, tell: Callable[[str], None]) -> Path:
    """Return the Python of the environment of a recipe, and make it if needed. Of two processes, one makes it."""
    root = folder.root / FOLDER
    root.mkdir(exist_ok=True)
    place = root / recipe.digest
    with file_lock.wait_and_hold(root / "lock"):
        if not (place / READY).exists():
            tell(f"installing Airflow {recipe.airflow} for Python {_version()} into {place}: once for this project")
            _make(recipe, place, tell)
            if not folder.is_held():
                prune(root, keep=place, now=time.time())
        # This is within the lock, because another command may remove environments that were not entered lately.
        os.utime(place / READY)
    return _python(place)


def prune(root: Path, *, keep: Path, now: float) -> None:
    """Delete the environments that no command entered for a day, except `keep`. No platform may be up."""
    for place in root.iterdir():
        if place == keep or not place.is_dir():
            continue
        with suppress(FileNotFoundError):  # an environment that a kill left unfinished has no mark
            if now - (place / READY).stat().st_mtime < UNUSED_S:
                continue
            # First of all: after a kill in the middle of the rest, a mark would say that all of it is there.
            (place / READY).unlink()
        shutil.rmtree(place)


def _make(recipe: EnvironmentRecipe, place: Path, tell: Callable[[str], None]) -> None:
    # If the folder exists, a kill left it unfinished.
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
    python_packages.run([str(python), "-P", "-m", "compileall", "-q", *map(str, packages.glob("airfleet*"))])
    # After a loss of power, the mark must not be there without the files.
    os.sync()
    (place / READY).touch()


def _version() -> str:
    return ".".join(map(str, sys.version_info[:2]))


def _python(place: Path) -> Path:
    return place / "bin" / "python"
