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
    """Remove a file that airfleet wrote and nothing needs any more."""

    path: Path


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
APT = (
    "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 "
    "-o Acquire::Retries=1 -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 "
    "-o Dpkg::Options::=--force-confold"
)


def script(action: Action) -> str:
    """The shell script that does it; it may be run again after it was cut off at any line."""
    match action:
        case Mask(unit):
            return f"ln -sfn /dev/null /etc/systemd/system/{unit}"
        case Install(packages, archive):
            return _install_shipped(packages) if archive else _install(packages)
        case AddUser(name):
            options = f"--system --user-group --home-dir {LIB / name} --shell /usr/sbin/nologin"
            return f"id -u {name} >/dev/null 2>&1 || useradd {options} {name}"
        case MakeFolder(folder):
            return _make_folder(folder)
        case WriteFile(file):
            return _write(file)
        case RemoveFile(path):
            return f"rm -f {shlex.quote(str(path))}"
        case Unpack(digest, python):
            new = f"{OPT}/.new-{digest}"
            return (
                f"umask 022\nrm -rf {new}\nmkdir -p {new}\ntar -xz --no-same-owner -C {new}\n"
                f"test -e {new}/compiled || {new}/bin/{python} -m compileall -q {new}/lib || true\n"
                f"rm -rf {OPT}/{digest}\nmv {new} {OPT}/{digest}"
            )
        case RemoveRuntime(digest):
            # Its own processes may outlive the unit that started them.
            runs = f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -q '^[/]opt/airfleet/{digest}/'"
            return f"if {runs}; then echo {DRAINING}; else rm -rf {OPT}/{digest}; fi"
        case ReloadUnits():
            return "systemctl daemon-reload"
        case RunJob(job):
            return _run(job)
        case Bring(service, how):
            return _bring(service, how)
        case RemoveService(unit):
            return _remove(unit)


def _install(packages: tuple[str, ...]) -> str:
    # What is in its cache needs no mirror; a mirror that is down is noticed once, and not for each package.
    install, names = f"{APT} install --no-install-recommends", " ".join(packages)
    update = f"{APT} update -o APT::Update::Error-Mode=any"
    return f"dpkg --configure -a\n{install} --no-download {names} 2>/dev/null || {{\n{update} && {install} {names}; }}"


def _install_shipped(packages: tuple[str, ...]) -> str:
    """Make a repository of what comes by standard input, and let apt see no other."""
    apt = (
        f"{APT} -o Dir::Etc::sourcelist={SHIPPED}/sources.list -o Dir::Etc::sourceparts=- "
        f"-o Dir::State::lists={SHIPPED}/lists -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "
        "-o Acquire::Languages=none"
    )
    return f"""\
rm -rf {SHIPPED}; mkdir -p {SHIPPED}/lists/partial; cd {SHIPPED}
tar -x --no-same-owner
for deb in *.deb; do
  dpkg-deb -f "$deb"
  echo "Filename: ./$deb"; echo "Size: $(stat -c %s "$deb")"; echo "SHA256: $(sha256sum < "$deb" | cut -c 1-64)"; echo
done > Packages
echo 'deb [trusted=yes] file:{SHIPPED} ./' > sources.list
dpkg --configure -a
{apt} update
{apt} install --no-install-recommends {" ".join(packages)}
cd /; rm -rf {SHIPPED}"""


def _remove(unit: str) -> str:
    # Without its unit file systemd would no longer know how gently to stop it, so that goes last.
    files = f"/etc/systemd/system/{unit} /etc/airfleet/units/{unit} /run/airfleet/{unit}"
    return (
        f"systemctl disable -q {unit} || true\nsystemctl stop --no-block {unit} || true\n"
        f"for i in $(seq {REMOVE_S * 5}); do\n"
        f'  case "$(systemctl show -P ActiveState {unit})" in inactive|failed)\n'
        f"    rm -f {files}; systemctl daemon-reload; systemctl reset-failed -q {unit} 2>/dev/null || true; exit 0;;\n"
        f"  esac\n  sleep 0.2\ndone\necho {DRAINING}"
    )


def require_own(path: Path) -> str:
    """A line of shell that ends the script unless nobody but root can put anything into a folder, or rename it away.

    Whoever can do that may plant a link, and root would write, or give away, what the link leads to. In a folder with
    the sticky bit, such as /tmp, nobody can rename what is root's.
    """
    folders = " ".join(shlex.quote(str(folder)) for folder in (path, *path.parents))
    others = "\\( ! -user root -o -perm /002 ! -perm -1000 -o -perm /020 ! -perm -1000 ! -group root \\)"
    return (
        f'if bad=$(find -L {folders} -maxdepth 0 {others} 2>&1) && [ -z "$bad" ]; then :; else\n'
        '  echo "error: others than root may change this folder, so root writes nothing there: $bad" >&2; exit 1\nfi'
    )


def _make_folder(folder: Folder) -> str:
    """Make it or take it as it is; it is changed from inside, so that no other one can take its place meanwhile."""
    path, parent = shlex.quote(str(folder.path)), folder.path.parent
    told = shlex.quote(f"error: {folder.path} is a link, and others than root may change {parent}")
    return (
        f"mkdir -p {path}\ncd -P {path}\n"
        f"( {require_own(parent)}\n) 2>/dev/null || [ ! -L {path} ] || {{ echo {told} >&2; exit 1; }}\n"
        f'[ "$(stat -c %d:%i .)" = "$(stat -Lc %d:%i {path})" ] || exit 1\n'
        f"chown {folder.owner}:{folder.group} .\nchmod {folder.mode:o} ."
    )


def _write(file: HostFile) -> str:
    path, content = shlex.quote(str(file.path)), base64.b64encode(reveal(file.content).encode()).decode()
    new = shlex.quote(f"{file.path}.airfleet-new")
    lines = "\n".join(content[start : start + 76] for start in range(0, len(content), 76))
    # With `set -C` the shell makes a new file (O_EXCL), and follows no link.
    return (
        f"mkdir -p {shlex.quote(str(file.path.parent))}\n{require_own(file.path.parent)}\n"
        f"umask 077\nrm -f {new}\nset -C\nbase64 -d > {new} <<'END'\n{lines}\nEND\n"
        f"chown {file.owner}:{file.group} {new}\nchmod {file.mode:o} {new}\nmv -fT {new} {path}"
    )


def _run(job: Job) -> str:
    # The whole script is read before its first command runs, which else could read the rest from standard input.
    whole = f"{{\nset -eu\n{job.script.reveal()}\n}} </dev/null\n"
    body = base64.b64encode(whole.encode()).decode()
    become = "" if job.user == "root" else f"runuser -u {job.user} -- "
    stamp = f"{JOBS}/{job.name}"
    return (
        f"cd /\nmkdir -p {JOBS}\nbase64 -d <<'END' | {become}timeout {job.timeout_s:g} bash -s >{stamp}.log 2>&1"
        f" || {{ tail -n 20 {stamp}.log >&2; exit 1; }}\n{body}\nEND\n"
        f"echo {job.fingerprint} > {stamp}.new && mv {stamp}.new {stamp}"
    )


def _bring(service: Service, how: str) -> str:
    unit = service.unit
    verb = {"start": "restart", "restart": "restart", "reload": "reload"}[how]
    # Where a worker drains, whatever it comes after could neither stop nor start until that has ended; the order of the
    # steps is the one that counts here, and systemd's that of a boot.
    mode = "" if verb == "reload" else "--job-mode=ignore-dependencies "
    # What drains may take an hour to stop; it goes on by itself and is looked at again at the next apply.
    block = "--no-block " if service.drains and how == "restart" else ""
    lines = [
        f"systemctl enable -q {unit}",
        f"systemctl reset-failed {unit} 2>/dev/null || true",
        f"systemctl {block}{mode}{verb} {unit} || {{ {_tell(service)}; exit 1; }}",
    ]
    stopping = f'case "$(systemctl show -P ActiveState {unit})" in deactivating) echo {DRAINING}; exit 0;; esac'
    # What has no port to answer at is told to be well by others, who may be slow to notice that it crashes.
    has_port = systemd_units.port_of(service) is not None
    crashes = "" if has_port or service.kind == "oneshot" else _end_if_it_crashes(service)
    fingerprint = systemd_units.fingerprint_path(service)
    lines += [
        f"end=$(( $(date +%s) + {service.wait_s:g} )) base=$(systemctl show -P NRestarts {unit})",
        f"until {systemd_units.check(service)} && cmp -s {fingerprint} /run/airfleet/{unit}; do",
        f"  if [ $(( end - $(date +%s) )) -lt {max(service.wait_s - 20, 0):g} ]; then {stopping if block else ':'}; fi",
        f"  if [ $(date +%s) -ge $end ]; then {_tell(service)}; exit 1; fi",
        *((crashes,) if crashes else ()),
        "  sleep 0.2",
        "done",
    ]
    if service.health is None and service.kind != "oneshot":
        lines += _watch(service)
    return "\n".join(lines)


def _watch(service: Service) -> list[str]:
    """What cannot be asked for its health is healthy once it has run for some time as one and the same process."""
    unit = service.unit
    return [
        f"pid=$(systemctl show -P MainPID {unit}) since=$(date +%s)",
        f"while [ $(( $(date +%s) - since )) -lt {STEADY_S} ]; do",
        "  sleep 0.5",
        f"  now=$(systemctl show -P MainPID {unit})",
        '  if [ "$now" = 0 ] || [ "$now" != "$pid" ]; then pid=$now since=$(date +%s); fi',
        f"  if [ $(date +%s) -ge $end ]; then {_tell_crashes(service)}; fi",
        _end_if_it_crashes(service),
        "done",
    ]


def _end_if_it_crashes(service: Service) -> str:
    unit = service.unit
    # systemd counts from zero again at a start by hand, so the count may have been of before.
    return (
        f"  count=$(systemctl show -P NRestarts {unit}); [ $count -ge $base ] || base=$count\n"
        f"  if [ $(( count - base )) -ge {CRASHES} ]; then {_tell_crashes(service)}; fi"
    )


def _tell_crashes(service: Service) -> str:
    return f"echo error: {service.unit} ends and is started again and again >&2; {_tell(service)}; exit 1"


def _tell(service: Service) -> str:
    unit = service.unit
    state = f"systemctl show -P ActiveState,SubState,Result {unit} | tr '\\n' ' '"
    # Of a worker, whose tasks wait now.
    what = f" ({service.what})" if service.drains else ""
    return "; ".join(
        (
            f"echo error: {unit} is not healthy: $({state}) >&2",
            f"echo {shlex.quote(f'{UNHEALTHY} {unit}{what}')} >&2",
            f"journalctl -q -n 8 --no-pager -o cat -u {unit} >&2",
        )
    )
