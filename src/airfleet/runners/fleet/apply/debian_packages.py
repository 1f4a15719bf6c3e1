"""Debian packages for hosts without a mirror: this machine fetches them and sends them through SSH (ADR 15).

apt on this machine resolves the dependencies against the dpkg status of the host, in separate folders. It neither reads
nor changes the packages of this machine, and needs no root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from airfleet.components.host_model import HostMachine
from airfleet.components.hosts.systems import SYSTEMS
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.plan.steps import Install, Step
from airfleet.runners.fleet.survey.host_survey import HostView, Survey
from airfleet.runners.fleet.transport.connection import HostError, find_telling
from airfleet.workspace import file_lock

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
OS_RELEASE = Path("/etc/os-release")
STATUS = "/var/lib/dpkg/status"
FOLDERS = ("archives/partial", "state/lists/partial", "cache")
FOLDER_HINT = "fetch them on a machine like it, and name their folder: airfleet apply --offline FOLDER"


@dataclass(frozen=True, slots=True)
class Shipment:
    """The packages for the hosts: the survey whose steps install them, and the archive of each host."""

    survey: Survey
    archives: dict[str, Path]


def ship(survey: Survey, folder: Path | None, work: Path, cache: Path, tell: Callable[[str], None]) -> Shipment:
    """Change every step that installs packages to install packages that this machine sends.

    A host whose packages cannot be fetched is left out; the survey then has its error.
    """
    views: list[HostView] = []
    errors = list(survey.errors)
    archives: dict[str, Path] = {}
    for view in survey.views:
        name = view.desired.place.host.name
        wanted = next((step.action.packages for step in view.steps if isinstance(step.action, Install)), ())
        if not wanted:
            views.append(view)
            continue
        try:
            machine = view.desired.place.machine
            if folder:
                debs = pick(folder, ARCHITECTURES[machine.arch], wanted)
            else:
                tell(f"{name}: fetching packages")
                status = view.connection.check(f"cat {STATUS}", what="reading what is installed")
                debs = fetch(machine, wanted, status, cache)
        except AirfleetError as error:
            errors.append(HostError(error.what, where=name, hint=error.hint))
            continue
        archives[name] = work / f"{name}.tar"
        with tarfile.open(archives[name], "w") as tar:
            for deb in debs:
                tar.add(deb, deb.name)
        views.append(replace(view, steps=tuple(_ship(view, name))))
    return Shipment(Survey(tuple(views), tuple(errors)), archives)


def _ship(view: HostView, archive: str) -> Iterator[Step]:
    for step in view.steps:
        if isinstance(step.action, Install):
            yield replace(step, action=Install(step.action.packages, archive))
        else:
            yield step


def pick(folder: Path, arch: str, wanted: Iterable[str]) -> tuple[Path, ...]:
    """Return the packages of a folder that fit the architecture.

    Raises:
        AirfleetError: A wanted package is missing.
    """
    debs = {deb.name: deb for end in (arch, "all") for deb in sorted(folder.rglob(f"*_{end}.deb"))}
    there = {name.partition("_")[0] for name in debs}
    if missing := sorted(set(wanted) - there):
        hint = f"apt-get install --download-only on a machine like it fetches them; they need {', '.join(missing)}"
        raise AirfleetError(f"{folder} lacks packages: {', '.join(missing)}", hint=hint)
    return tuple(debs.values())


def fetch(machine: HostMachine, wanted: Iterable[str], status: str, cache: Path) -> tuple[Path, ...]:
    """Fetch the wanted packages with all dependencies that a host with this dpkg status lacks.

    Raises:
        AirfleetError: apt fails, or this machine has another system than the host.
    """
    check(machine, OS_RELEASE.read_text() if OS_RELEASE.is_file() else "")
    arch = ARCHITECTURES[machine.arch]
    root = cache / f"{machine.system.name.lower().replace(' ', '-')}-{arch}"
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    with file_lock.wait_and_hold(root / "lock"), tempfile.TemporaryDirectory(prefix="airfleet-") as temporary:
        work = Path(temporary)
        (work / "status").write_text(status)
        (work / "none" / "partial").mkdir(parents=True)
        options = _options(root, work / "status", arch)
        _apt(options, "update", "-o", "APT::Update::Error-Mode=any")
        _apt(options, "autoclean")
        install = ("install", "--no-install-recommends", *wanted)
        # With an empty cache, apt lists every package that it would download.
        listed = _apt({**options, "Dir::Cache::archives": str(work / "none")}, "--print-uris", *install)
        _apt(options, "--download-only", *install)
    return tuple(root / "archives" / name for name in parse_uris(listed))


def parse_uris(listing: str) -> tuple[str, ...]:
    """Return the file names in the output of `apt-get --print-uris`."""
    return tuple(words[1] for line in listing.splitlines() if len(words := line.split()) >= 3 and line.startswith("'"))


def _options(root: Path, status: Path, arch: str) -> dict[str, str]:
    return {
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "APT::Get::Assume-Yes": "true",
        "APT::Keep-Downloaded-Packages": "true",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "15",
        "Acquire::https::Timeout": "15",
        "Dir::Cache": str(root / "cache"),
        "Dir::Cache::archives": str(root / "archives"),
        "Dir::State": str(root / "state"),
        "Dir::State::lists": str(root / "state" / "lists"),
        "Dir::State::status": str(status),
        **({"APT::Sandbox::User": "root"} if os.geteuid() == 0 else {}),
    }


def _apt(options: dict[str, str], *words: str) -> str:
    argv = ["apt-get", "-q", *(word for key, value in options.items() for word in ("-o", f"{key}={value}")), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})
    if done.returncode:
        hint = f"check /etc/apt/sources.list of this machine; or {FOLDER_HINT}"
        raise AirfleetError(
            f"its packages cannot be fetched here: {find_telling(done.stderr or done.stdout)}", hint=hint
        )
    return done.stdout


def check(machine: HostMachine, os_release: str) -> None:
    """Make sure that apt of this machine can fetch packages for another. `os_release` is the file of this machine.

    Raises:
        AirfleetError: This machine has no apt, or another system.
    """
    if not shutil.which("apt-get"):
        raise AirfleetError("its packages cannot be fetched here: this machine has no apt", hint=FOLDER_HINT)
    own = read_system(os_release)
    if SYSTEMS.get(own) != machine.system:
        what = f"its packages cannot be fetched here: it has {machine.system.name}, this machine {' '.join(own)}"
        raise AirfleetError(what, hint=FOLDER_HINT)


def read_system(text: str) -> tuple[str, str]:
    """Return ID and VERSION_ID of an os-release file."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return values.get("ID", "").strip("\"'"), values.get("VERSION_ID", "").strip("\"'")
