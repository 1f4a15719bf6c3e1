"""The steps that can be taken on a host, as frozen data, and the script of each: `plan` shows it, `apply` runs it."""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from airfleet.components.host_model import LIB, OPT, Folder, HostFile, Job, Service, Stage
from airfleet.components.model import reveal
from airfleet.runners.fleet.plan import systemd_units
from airfleet.runners.fleet.transport.connection import UNHEALTHY
from airfleet.shell_script import define_function, render_script

JOBS = LIB / "jobs"
# What a script says where a worker, or what it runs, has yet to end: nothing is killed, and a later apply looks again.
DRAINING = "draining"
# Where packages from the control machine lie while they are installed.
SHIPPED = "/var/cache/airfleet-packages"


@dataclass(frozen=True, slots=True)
class Mask:
    """Keep a package's own unit from ever starting: airfleet runs the program in its own."""

    unit: str


@dataclass(frozen=True, slots=True)
class Install:
    """Install packages of the system; those of an archive from there and from nowhere else."""

    packages: tuple[str, ...]
    archive: str = ""


@dataclass(frozen=True, slots=True)
class AddUser:
    """Make a system user without a login."""

    name: str


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """Make a folder, or give it its owner and mode."""

    folder: Folder


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Replace a file."""

    file: HostFile


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Remove a file that airfleet wrote and nothing needs any more; `with_folder` also its folder once it is empty."""

    path: Path
    with_folder: bool = False


@dataclass(frozen=True, slots=True)
class Unpack:
    """Have the packages of Airflow in their folder, from an archive of the control machine."""

    digest: str
    system_python: str


@dataclass(frozen=True, slots=True)
class RemoveRuntime:
    """Remove packages of Airflow that nothing runs from."""

    digest: str


@dataclass(frozen=True, slots=True)
class ReloadUnits:
    """Let systemd read the unit files again."""


@dataclass(frozen=True, slots=True)
class RunJob:
    """Run a script, and remember that it ended well."""

    job: Job


@dataclass(frozen=True, slots=True)
class Bring:
    """Start, restart or reload a service, enable it, and wait until it is healthy."""

    service: Service
    how: Literal["start", "restart", "reload"]


@dataclass(frozen=True, slots=True)
class RemoveService:
    """Stop a service for good; what it does is done first."""

    unit: str


Action = (
    Mask
    | Install
    | AddUser
    | MakeFolder
    | WriteFile
    | RemoveFile
    | Unpack
    | RemoveRuntime
    | ReloadUnits
    | RunJob
    | Bring
    | RemoveService
)


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one host, with its reason."""

    host: str
    stage: Stage
    action: Action
    what: str
    why: str
    diff: str = ""
    timeout_s: float = 120

    @property
    def is_small(self) -> bool:
        """Whether it is done in no time, so that many of them may go in one round trip."""
        return isinstance(self.action, Mask | AddUser | MakeFolder | WriteFile | RemoveFile)


# What drains longer is looked at again at the next apply.
REMOVE_S = 20
# A process of Airflow that cannot run ends within this time, and after so many restarts it will not come to itself.
STEADY_S = 8
CRASHES = 3


def script(action: Action) -> str:
    """The shell script that does it; it may be run again after it was cut off at any line."""
    match action:
        case Mask(unit):
            return f"ln -sfn /dev/null /etc/systemd/system/{unit}"
        case Install(packages, archive):
            return _install(packages, is_shipped=bool(archive))
        case AddUser(name):
            options = f"--system --user-group --home-dir {LIB / name} --shell /usr/sbin/nologin"
            return f"id -u {name} >/dev/null 2>&1 || useradd {options} {name}"
        case MakeFolder(folder):
            return _make_folder(folder)
        case WriteFile(file):
            return _write(file)
        case RemoveFile(path, with_folder):
            parent = shlex.quote(str(path.parent))
            clear = f"\n[ ! -d {parent} ] || rmdir --ignore-fail-on-non-empty {parent}" if with_folder else ""
            return f"rm -f {shlex.quote(str(path))}{clear}"
        case Unpack(digest, python):
            return render_script(__package__, "unpack_airflow", OPT=OPT, DIGEST=digest, PYTHON=python)
        case RemoveRuntime(digest):
            return render_script(__package__, "remove_airflow", OPT=OPT, DIGEST=digest, DRAINING=DRAINING)
        case ReloadUnits():
            return "systemctl daemon-reload"
        case RunJob(job):
            return _run(job)
        case Bring(service, how):
            return _bring(service, how)
        case RemoveService(unit):
            return render_script(__package__, "remove_service", UNIT=unit, TIMES=REMOVE_S * 5, DRAINING=DRAINING)


def _install(packages: tuple[str, ...], *, is_shipped: bool) -> str:
    names = " ".join(packages)
    if is_shipped:
        programs = ("apt_functions", "install_shipped_packages")
        return render_script(__package__, *programs, PACKAGES=names, SHIPPED=SHIPPED)
    return render_script(__package__, "apt_functions", "install_packages", PACKAGES=names)


def _make_folder(folder: Folder) -> str:
    return render_script(
        __package__,
        "require_own",
        "make_folder",
        FOLDER=folder.path,
        PARENT=folder.path.parent,
        OWNER=folder.owner,
        GROUP=folder.group,
        MODE=f"{folder.mode:o}",
    )


def _write(file: HostFile) -> str:
    return render_script(
        __package__,
        "require_own",
        "write_file",
        FILE=file.path,
        FOLDER=file.path.parent,
        CONTENT=_encode(reveal(file.content)),
        OWNER=file.owner,
        GROUP=file.group,
        MODE=f"{file.mode:o}",
    )


def _run(job: Job) -> str:
    # The whole script is read before its first command runs, which else could read the rest from standard input.
    whole = f"{{\nset -eu\n{job.script.reveal()}\n}} </dev/null\n"
    return render_script(
        __package__,
        "run_job",
        JOB=_encode(whole),
        LOGIN=job.user,
        TIMEOUT_S=f"{job.timeout_s:g}",
        STAMP=f"{JOBS}/{job.name}",
        FINGERPRINT=job.fingerprint,
    )


def _encode(text: str) -> str:
    """Return a text in lines of base64: no letter in it means anything to a shell."""
    return base64.encodebytes(text.encode()).decode().rstrip("\n")


def _bring(service: Service, how: str) -> str:
    verb = {"start": "restart", "restart": "restart", "reload": "reload"}[how]
    # What drains may take an hour to stop; it goes on by itself and is looked at again at the next apply.
    drains = service.drains and how == "restart"
    # Where a worker drains, whatever it comes after could neither stop nor start until that has ended; the order of the
    # steps is the one that counts here, and systemd's that of a boot.
    options = ("--no-block",) * drains + ("--job-mode=ignore-dependencies",) * (verb != "reload")
    # What has no port to answer at is told to be well by others, who may be slow to notice that it crashes.
    may_crash = systemd_units.port_of(service) is None and service.kind != "oneshot"
    is_steady = service.health is not None or service.kind == "oneshot"
    # Of a worker, whose tasks wait now.
    what = f" ({service.what})" if service.drains else ""
    bring = render_script(
        __package__,
        "service_functions",
        "bring_service",
        UNIT=service.unit,
        VERB=verb,
        OPTIONS=" ".join(options),
        WAIT_S=f"{service.wait_s:g}",
        DRAINS="1" if drains else "",
        DRAINING=DRAINING,
        MAY_CRASH="1" if may_crash else "",
        CRASHES=CRASHES,
        UNHEALTHY=f"{UNHEALTHY} {service.unit}{what}",
    )
    watch = "" if is_steady else render_script(__package__, "watch_service", STEADY_S=STEADY_S)
    return define_function("is_healthy", systemd_units.check(service)) + bring + watch
