"""The packages of an Airflow environment, on this machine and on hosts: the lock, the requirements, the provider."""

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
    """Return the text of the project's requirements file, or "" if there is none and fleet.yaml names none.

    Raises:
        AirfleetError: fleet.yaml names a file that does not exist.
    """
    path = project / (named or "requirements.txt")
    if named and not path.is_file():
        raise AirfleetError("no such requirements file", where=str(path), hint="`requirements` in fleet.yaml names it")
    return path.read_text() if path.is_file() else ""


def split_requirements(text: str) -> Iterator[tuple[str, str]]:
    """Yield each requirement of a requirements file with the options that pip reads behind it, such as its hashes.

    A line with options alone is left out.
    """
    for line in text.replace("\\\n", " ").splitlines():
        words = re.split(r"(?:^|\s)#", line, maxsplit=1)[0]
        requirement, *options = re.split(r"(?:^|\s)(?=--?[a-z])", words, maxsplit=1)
        if requirement.strip():
            yield requirement.strip(), "".join(options)


def list_unhashed(requirements: str) -> tuple[str, ...]:
    """Return the requirements of a file that have no hash."""
    return tuple(one for one, options in split_requirements(requirements) if "--hash=" not in options)


def read_provider() -> Files:
    """Return the files of the provider, by their paths below site-packages.

    The files come from the wheel inside airfleet's own wheel. In a clone they come from the provider that is installed
    beside airfleet. Both give the same files.

    Raises:
        AirfleetError: There is neither.
    """
    for wheel in sorted(WHEELS.glob("airfleet_provider-*.whl")):
        with ZipFile(wheel) as archive:
            names = sorted(archive.namelist(), key=lambda name: (is_metadata(name), PurePath(name).parts))
            return tuple((name, archive.read(name)) for name in names if not is_metadata(name) or is_kept(name))
    return read_installed("airfleet_provider", PROVIDER)


def read_installed(package: str, distribution: str) -> Files:
    """Return the files of a package that is installed in this environment, by their paths below site-packages.

    Raises:
        AirfleetError: The package is not installed.
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
    """Return a digest of everything that an installation contains.

    Folders of installations on hosts have this name. A change of this function would make every host install again.
    """
    total = hashlib.sha256()
    for text in texts:
        total.update(f"{len(text)}\n{text}".encode())
    for path, content in files:
        total.update(f"{path}\n{len(content)}\n".encode() + content)
    return total.hexdigest()[:DIGITS]


def is_metadata(name: str) -> bool:
    """Return whether a file of a wheel describes the distribution and is not part of the package."""
    return PurePath(name).parts[0].endswith(".dist-info")


def is_kept(name: str) -> bool:
    """Return whether Python needs this file of metadata at run time, for the version or the entry points."""
    return PurePath(name).name in METADATA


def write_files(site_packages: Path, files: Files) -> None:
    """Write the files of a distribution into an environment."""
    for path, content in files:
        target = site_packages / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def install(command: Sequence[str], lock: Path, requirements: Path, tell: Callable[[str], None]) -> None:
    """Install the lock and the project's requirements. `command` is the beginning of a uv command.

    uv checks every package of the lock against its hashes. It checks the project's requirements too if all of them
    have hashes; otherwise `tell` reports that nobody checks them. They cannot change a version that the lock pins.

    Raises:
        AirfleetError: uv fails; the error holds the last lines of its output.
    """
    if not list_unhashed(requirements.read_text()):
        run([*command, "--require-hashes", "--requirement", str(lock), "--requirement", str(requirements)])
        return
    tell(
        "the project's requirements have no hashes, so nobody checks what the package mirror sends; "
        "`uv pip compile --generate-hashes` writes them"
    )
    run([*command, "--require-hashes", "--requirement", str(lock)])
    run([*command, "--constraint", str(lock), "--requirement", str(requirements)])


def find_uv() -> str:
    """Return the path of uv, the program that installs packages.

    Raises:
        AirfleetError: uv is not installed.
    """
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise AirfleetError("uv is not installed beside airfleet", hint="pip install uv")
    return found


def run(argv: Sequence[str]) -> None:
    """Run a command that makes an environment.

    Raises:
        AirfleetError: The command fails; the error holds the last lines of its output.
    """
    # If root starts the platform, PostgreSQL runs as another user, and that user must be able to read the environment.
    umask = 0o022 if os.geteuid() == 0 else -1
    done = subprocess.run(argv, capture_output=True, text=True, check=False, umask=umask)
    if done.returncode:
        reason = "\n".join(done.stderr.strip().splitlines()[-6:])
        hint = "the package mirror may be down, or the requirements may conflict with the versions of Airflow's lock"
        raise AirfleetError(f"cannot install Airflow: {reason}", where=argv[0], hint=hint)


def list_airflow(lock: str) -> list[str]:
    """Return Airflow and its providers in a lock, with their versions: the packages that can change the schema."""
    return re.findall(r"^apache-airflow[\w.-]*==[\w.]+", lock, re.MULTILINE)
