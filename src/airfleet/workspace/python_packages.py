"""What is installed to run Airflow, here and on hosts: the lock, the project's requirements, the provider."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path, PurePath
from zipfile import ZipFile

import airfleet
from airfleet.errors import AirfleetError

PROVIDER = "airfleet-provider"
# The build of airfleet's wheel puts the provider's wheel here.
WHEELS = Path(airfleet.__file__).parent / "wheels"
METADATA = ("METADATA", "entry_points.txt")
DIGITS = 16

Files = tuple[tuple[str, bytes], ...]


def read_requirements(project: Path, named: str | None) -> str:
    """The text of the project's requirements file, which need not exist unless fleet.yaml names it.

    Raises AirfleetError when fleet.yaml names a file that does not exist.
    """
    path = project / (named or "requirements.txt")
    if named and not path.is_file():
        raise AirfleetError("no such requirements file", where=str(path), hint="`requirements` in fleet.yaml names it")
    return path.read_text() if path.is_file() else ""


def list_unhashed(requirements: str) -> tuple[str, ...]:
    """The requirements of a file that say no hash."""
    lines = requirements.replace("\\\n", " ").splitlines()
    stripped = [line.partition(" #")[0].strip() for line in lines if not line.lstrip().startswith("#")]
    return tuple(line for line in stripped if line and not line.startswith("-") and "--hash=" not in line)


def read_provider() -> Files:
    """The files of the provider, by their paths below site-packages.

    They come from the wheel inside airfleet's own wheel, and in a clone from what is installed beside airfleet. Both
    give the same files. Raises AirfleetError when there is neither.
    """
    for wheel in sorted(WHEELS.glob("airfleet_provider-*.whl")):
        with ZipFile(wheel) as archive:
            names = sorted(archive.namelist(), key=lambda name: (is_metadata(name), PurePath(name).parts))
            return tuple((name, archive.read(name)) for name in names if not is_metadata(name) or is_kept(name))
    return read_installed("airfleet_provider", PROVIDER)


def read_installed(package: str, distribution: str) -> Files:
    """The files of a package that is installed in this environment, by their paths below site-packages.

    Raises AirfleetError when it is not installed.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise AirfleetError(f"{distribution} is not installed beside airfleet", hint="install both from one version")
    root = Path(spec.origin).parent
    known = metadata.distribution(distribution)
    info = f"{package}-{known.version}.dist-info"
    own = tuple((f"{package}/{path.relative_to(root)}", path.read_bytes()) for path in _walk(root))
    return own + tuple((f"{info}/{name}", (known.read_text(name) or "").encode()) for name in METADATA)


def _walk(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix != ".pyc")


def compute_digest(texts: Iterable[str], files: Files) -> str:
    """A name for all that goes into an installation: another text or file gives another name.

    The folders of installations on hosts are called so: another way to compute it would install all of them anew.
    """
    total = hashlib.sha256()
    for text in texts:
        total.update(f"{len(text)}\n{text}".encode())
    for path, content in files:
        total.update(f"{path}\n{len(content)}\n".encode() + content)
    return total.hexdigest()[:DIGITS]


def is_metadata(name: str) -> bool:
    """Whether a file of a wheel says something of the distribution, and is no part of its package."""
    return PurePath(name).parts[0].endswith(".dist-info")


def is_kept(name: str) -> bool:
    """Whether Python needs this file of metadata: the version and the entry points."""
    return PurePath(name).name in METADATA


def write_files(site_packages: Path, files: Files) -> None:
    """Put the files of a distribution into an environment."""
    for path, content in files:
        target = site_packages / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def install(command: Sequence[str], lock: Path, requirements: Path, tell: Callable[[str], None]) -> None:
    """Install the lock and the project's requirements; `command` is the beginning of a command of uv.

    All of the lock is checked against its hashes. A project's requirements are checked too when all of them have
    hashes; otherwise `tell` says that they are not, and they get no other version of what the lock pins.
    """
    if not list_unhashed(requirements.read_text()):
        run([*command, "--require-hashes", "--requirement", str(lock), "--requirement", str(requirements)])
        return
    tell(
        "the project's requirements have no hashes, so nobody checks what the package mirror gives for them; "
        "`uv pip compile --generate-hashes` writes them"
    )
    run([*command, "--require-hashes", "--requirement", str(lock)])
    run([*command, "--constraint", str(lock), "--requirement", str(requirements)])


def find_uv() -> str:
    """The program that installs packages; raises AirfleetError when there is none."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise AirfleetError("uv is not installed beside airfleet", hint="pip install uv")
    return found


def run(argv: Sequence[str]) -> None:
    """Run a command that makes an environment; raises AirfleetError with the last lines that it wrote."""
    # Root runs PostgreSQL as another user, who must be able to read it.
    umask = 0o022 if os.geteuid() == 0 else -1
    done = subprocess.run(argv, capture_output=True, text=True, check=False, umask=umask)
    if done.returncode:
        reason = "\n".join(done.stderr.strip().splitlines()[-6:])
        hint = "a package mirror that is down, or requirements that do not fit Airflow's own versions, end like this"
        raise AirfleetError(f"cannot install Airflow: {reason}", where=argv[0], hint=hint)


def list_airflow(lock: str) -> list[str]:
    """Airflow and its providers in a lock, with their versions: whatever may bring another schema."""
    return re.findall(r"^apache-airflow[\w.-]*==[\w.]+", lock, re.MULTILINE)
