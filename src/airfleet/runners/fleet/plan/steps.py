"""The steps that change a host, as frozen data, and the script of each. `plan` shows steps, and `apply` runs them."""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from airfleet.components.host_model import ETC, LIB, OPT, Folder, HostFile, Job, Service, Stage
from airfleet.components.model import reveal
from airfleet.runners.fleet.plan import systemd_units
from airfleet.runners.fleet.transport.connection import UNHEALTHY
from airfleet.shell_script import define_function, render_script

JOBS = LIB / "jobs"
# A script prints this line if a worker or its tasks still have to end. Nothing is killed; a later apply checks again.
DRAINING = "draining"
WORKER = "airfleet-worker-"
# The folder of packages from the control machine during their installation.
SHIPPED = "/var/cache/airfleet-packages"


@dataclass(frozen=True, slots=True)
class Mask:
    """Keep a unit of a package from starting, because airfleet runs the program in its own unit."""

    unit: str


@dataclass(frozen=True, slots=True)
class Install:
    """Install packages of the system. With `archive`, only the packages of that archive are used."""

    packages: tuple[str, ...]
    archive: str = ""


@dataclass(frozen=True, slots=True)
class AddUser:
    """Create a system user that cannot log in."""

    name: str


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """Create a folder, or change its owner and mode."""

    folder: Folder


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Write a file, atomically."""

    file: HostFile


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Delete a file that airfleet wrote and that is no longer needed. `with_folder` also deletes its empty folder."""

    path: Path
    with_folder: bool = False


@dataclass(frozen=True, slots=True)
class Unpack:
    """Unpack the packages of Airflow from an archive of the control machine."""

    digest: str
    system_python: str


@dataclass(frozen=True, slots=True)
class RemoveRuntime:
    """Delete packages of Airflow that no process runs from, their configuration, and `files`."""

    digest: str
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class ReloadUnits:
    """Let systemd reload its unit files."""


@dataclass(frozen=True, slots=True)
class RunJob:
    """Run a script, and record its success."""

    job: Job


@dataclass(frozen=True, slots=True)
class Bring:
    """Start, restart or reload a service, enable it, and wait until it is healthy."""

    service: Service
    how: Literal["start", "restart", "reload"]


@dataclass(frozen=True, slots=True)
class RemoveService:
    """Stop a service and remove its unit. Running tasks end first."""

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
        """Return whether the step takes almost no time, so that many of them share one round trip."""
        return isinstance(self.action, Mask | AddUser | MakeFolder | WriteFile | RemoveFile)


# Seconds to wait for a worker that is removed. If it drains longer, the next apply checks again.
REMOVE_S = 20
# Every other service ends within its stop_s, because systemd kills it then. HAProxy takes a minute when a peer lost its
# power, because that peer never closes its connections.
STOP_S = 130
# A process of Airflow that cannot run ends within STEADY_S seconds. After CRASHES restarts, the step fails.
STEADY_S = 8
CRASHES = 3


def script(action: Action) -> str:
    """Return the shell script of an action. It may run again after an interruption at any line."""
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
        case RemoveRuntime(digest, files):
            values = {
                "OPT": OPT,
                "ETC": ETC,
                "DIGEST": digest,
                "FILES": " ".join(map(str, files)),
                "DRAINING": DRAINING,
            }
            return render_script(__package__, "running_airflow", "remove_airflow", **values)
        case ReloadUnits():
            return "systemctl daemon-reload"
        case RunJob(job):
            return _run(job)
        case Bring(service, how):
            return _bring(service, how)
        case RemoveService(unit):
            wait_s = REMOVE_S if unit.startswith(WORKER) else STOP_S
            return render_script(__package__, "remove_service", UNIT=unit, TIMES=wait_s * 5, DRAINING=DRAINING)


def list_running_packages() -> str:
    """Return a script that prints the name of every folder of packages that a process of this host was started from."""
    return render_script(__package__, "running_airflow", OPT=OPT) + "list_running\n"


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
    # The braces make bash read the whole script first. Otherwise a command could read the rest from standard input.
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
    """Return a text in lines of base64, which has no character that is special to a shell."""
    return base64.encodebytes(text.encode()).decode().rstrip("\n")


def _bring(service: Service, how: str) -> str:
    verb = {"start": "restart", "restart": "restart", "reload": "reload"}[how]
    # A service that drains may take an hour to stop. It continues by itself, and the next apply checks it again.
    drains = service.drains and how == "restart"
    # While a worker drains, systemd would neither stop nor start the units that it comes after. An apply keeps the
    # order of the steps instead. systemd's order counts at a boot.
    options = ("--no-block",) * drains + ("--job-mode=ignore-dependencies",) * (verb != "reload")
    # A service without a port has a check elsewhere, such as a heartbeat, which notices a crash late.
    may_crash = systemd_units.port_of(service) is None and service.kind != "oneshot"
    is_steady = service.health is not None or service.kind == "oneshot"
    # For a worker, the message also names its queues, whose tasks wait now.
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
