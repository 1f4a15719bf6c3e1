"""Compare the desired state of a host with its facts, and list the steps between. No I/O, so plan and apply agree."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from airfleet.components.etcd import server as etcd
from airfleet.components.host_model import ETC, EVERY_ADDRESS, Folder, HostFile, Job, Part, Place, Service, Stage
from airfleet.components.model import reveal
from airfleet.components.postgresql import patroni
from airfleet.runners.fleet.plan import systemd_units
from airfleet.runners.fleet.plan.facts import HostFacts, MachineFacts, UnitFact
from airfleet.runners.fleet.plan.steps import (
    JOBS,
    STOP_S,
    AddUser,
    Bring,
    Install,
    MakeFolder,
    Mask,
    ReloadUnits,
    RemoveFile,
    RemoveRuntime,
    RemoveService,
    RunJob,
    Step,
    Unpack,
    WriteFile,
)
from airfleet.spec.addresses import is_ipv6

WRONG_CLOCK_S = 30.0  # tokens and leases tolerate more, but people who read logs do not
# One wording for `plan`, `apply`, `status` and `doctor`.
CLOCK_HINT = "correct the wrong clock, and keep it synchronised: timedatectl set-ntp true"
# The free bytes that a host needs where the system's packages and Airflow's go, at first and later.
LEAST_FREE = 3 << 30
LEAST_FREE_AGAIN = 200 << 20
KEPT_RUNTIMES = 2
MISSING = "it is missing"
UNNEEDED = "fleet.yaml no longer needs it"
TIMEOUT_INSTALL_S = 900.0
TIMEOUT_UNPACK_S = 600.0
TIMEOUT_REMOVE_S = STOP_S + 30.0
RUNNING = ("active", "activating", "reloading", "deactivating")


@dataclass(frozen=True)
class DesiredHost:
    """The desired state of one host."""

    place: Place
    parts: tuple[Part, ...]

    @property
    def packages(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.parts for name in part.packages))

    @property
    def masks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(unit for part in self.parts for unit in part.masks))

    @property
    def users(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.parts for name in part.users))

    @property
    def folders(self) -> tuple[Folder, ...]:
        return tuple(dict.fromkeys(folder for part in self.parts for folder in part.folders))

    @property
    def services(self) -> tuple[Service, ...]:
        return tuple(service for part in self.parts for service in part.services)

    @property
    def early(self) -> tuple[HostFile, ...]:
        return tuple(file for part in self.parts for file in part.early)

    @cached_property
    def files(self) -> tuple[HostFile, ...]:
        """Return every file once: those of parts and services, and the units."""
        own = {file.path: file for part in self.parts for file in part.files}
        own |= {file.path: file for service in self.services for file in service.files}
        for service in self.services:
            unit = HostFile(Path(systemd_units.FOLDER) / service.unit, systemd_units.render(service))
            note = systemd_units.fingerprint(service)
            own |= {unit.path: unit, note.path: note}
        return tuple(own.values())


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A reason why a host cannot be changed, and a hint."""

    host: str
    what: str
    hint: str


def find_wrong_clock(host: str, said: int | None, *, asked: float, answered: float) -> Iterator[Obstacle]:
    """Yield an obstacle if a host's clock is more than WRONG_CLOCK_S away from this machine's.

    `asked` and `answered` are the times of the round trip by this machine's clock: the host may have read its clock at
    any moment between them.
    """
    if said is None:
        return
    ahead_s = max(said - answered, 0.0) or min(said - asked, 0.0)
    if abs(ahead_s) > WRONG_CLOCK_S:
        what = f"its clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
        yield Obstacle(host, what, CLOCK_HINT)


def find_obstacles(desired: DesiredHost, probe: MachineFacts, facts: HostFacts) -> Iterator[Obstacle]:
    """Yield what would make a change of this host fail halfway."""
    name = desired.place.host.name
    least = LEAST_FREE_AGAIN if desired.place.runtime.name in facts.runtimes else LEAST_FREE
    for path, free in sorted(probe.free.items()):
        if free < least:
            what = f"only {free >> 20} MiB are free on {path}, and {least >> 20} MiB are needed"
            yield Obstacle(name, what, f"free some space on {path}")
            break
    for service in desired.services:
        port = systemd_units.port_of(service)
        running = facts.units.get(service.unit)
        if port is None or (running and running.active in RUNNING and _is_current(service, running)):
            continue
        for listener in probe.listeners:
            if listener.port == port and not listener.is_ours:
                by = f"{listener.program} (pid {listener.pid})" if listener.program else "another program"
                what = f"port {port} is taken by {by}; {service.what} needs it"
                is_public = port == desired.place.fleet.ports.api
                other = "choose another one under `ports`" if is_public else f"give {name} another role"
                yield Obstacle(name, what, f"stop that program, or {other}")
                break
    if desired.place.listen == EVERY_ADDRESS and is_ipv6(desired.place.host.address):
        # There is no address that means every one of IPv6 and none of IPv4.
        what = f"the host does not have the address {desired.place.host.address} itself"
        yield Obstacle(name, what, "name an IPv6 address that the host has: ip -6 addr")
    elif desired.place.listen == EVERY_ADDRESS and not desired.place.fleet.firewall:
        what = f"the host does not have the address {desired.place.host.address}, so services would listen on every one"
        yield Obstacle(name, what, "set `firewall: true`, or name an address that the host has itself")
    yield from _find_lost_address(desired.place)
    limits = [desired.place.fleet.pool(pool).limits.memory or 0 for pool in desired.place.host.pools]
    if sum(limits) > desired.place.machine.memory:
        what = (
            f"its pools may use {sum(limits) >> 20} MiB together, and it has {desired.place.machine.memory >> 20} MiB"
        )
        yield Obstacle(name, what, "lower `memory` of a pool, or give the host fewer `pools`")


def _find_lost_address(place: Place) -> Iterator[Obstacle]:
    """Yield why a balancer host could not have the address that it shares with the others."""
    shared = place.fleet.balancer
    if shared is None or "balancer" not in place.host.roles:
        return
    link = place.machine.links.get(place.own_address)
    if link is None:
        what = f"the host does not have the address {place.host.address} itself, so it cannot have {shared} either"
        yield Obstacle(place.host.name, what, "name an address that the host has itself, or remove `balancer`")
        return
    network = ipaddress.ip_interface(f"{place.own_address}/{link.prefix}").network
    if ipaddress.ip_address(shared) not in network:
        what = f"{shared} is not an address of the network {network} of {link.interface}, where no one would find it"
        yield Obstacle(place.host.name, what, "write another address under `balancer`")


def _is_current(service: Service, fact: UnitFact) -> bool:
    return fact.started_from.split() == reveal(systemd_units.fingerprint(service).content).split()


def decide(desired: DesiredHost, facts: HostFacts) -> tuple[Step, ...]:
    """Return the steps from the facts of a host to its desired state, in order."""
    return tuple(sorted(_decide(desired, facts), key=lambda step: step.stage))


def _decide(desired: DesiredHost, facts: HostFacts) -> Iterator[Step]:
    host = desired.place.host.name
    kept = {file.path for file in desired.files} | set(find_former_files(desired, facts))
    stale = sorted(path for path in facts.managed if Path(path) not in kept)
    gone = [Path(path).name for path in stale if path.startswith(systemd_units.FOLDER)]
    for unit in gone:
        stage, words = _find_removal_stage(desired, unit == etcd.UNIT), f"stop and remove {unit}"
        yield Step(host, stage, RemoveService(unit), words, UNNEEDED, timeout_s=TIMEOUT_REMOVE_S)
    for unit in desired.masks:
        if unit not in facts.masked:
            yield Step(host, Stage.BASE, Mask(unit), f"mask {unit}", "airfleet runs the program in its own unit")
    for file in desired.early:
        yield from _file(host, file, facts)
    missing = tuple(sorted(set(desired.packages) - facts.packages))
    if missing:
        names = ", ".join(missing)
        yield Step(host, Stage.BASE, Install(missing), f"install {names}", "not installed", "", TIMEOUT_INSTALL_S)
    for user in desired.users:
        if user not in facts.users:
            yield Step(host, Stage.BASE, AddUser(user), f"add the user {user}", MISSING)
    for folder in desired.folders:
        fact = facts.folders.get(str(folder.path))
        if fact is None or (fact.owner, fact.group, fact.mode) != (folder.owner, folder.group, folder.mode):
            why = MISSING if fact is None else f"is {fact.owner}:{fact.group} {fact.mode:o}"
            yield Step(host, Stage.BASE, MakeFolder(folder), f"make {folder.path}", why)
    # Before the units that start from it: systemd may start one anew at any time, after a crash.
    yield from _unpack(desired, facts)
    yield from _files(desired, facts)
    folders = {ETC, *(folder.path for folder in desired.folders), *(path.parent for path in kept)}
    for path in map(Path, stale):
        if path.name not in gone:
            is_last = ETC in path.parents and path.parent not in folders
            action = RemoveFile(path, with_folder=is_last)
            stage = _find_removal_stage(desired, path.parent == etcd.FOLDER)
            yield Step(host, stage, action, f"remove {path}", UNNEEDED)
    yield from _forget_jobs(desired, facts)
    yield from _jobs_and_services(desired, facts)
    yield from _remove_runtimes(desired, facts)


def _find_removal_stage(desired: DesiredHost, is_voter: bool) -> Stage:
    """The stage in which something of a host is removed: what a voter needs stays until another one has joined."""
    return Stage.CLEANUP if is_voter and desired.place.fleet.voters else Stage.BASE


def _forget_jobs(desired: DesiredHost, facts: HostFacts) -> Iterator[Step]:
    """Forget that the jobs of a role succeeded once the host has lost the role: with the role, they run again."""
    names = {job.name for part in desired.parts for job in part.jobs}
    for name in sorted(facts.jobs.keys() - names):
        action = RemoveFile(JOBS / name)
        yield Step(desired.place.host.name, Stage.BASE, action, f"forget the job {name}", UNNEEDED)


def _files(desired: DesiredHost, facts: HostFacts) -> Iterator[Step]:
    """The files in the order in which a process may start anew in between, or the apply may end.

    What a service reads comes before its unit. The note of what it was started from comes after systemd has read the
    unit: a process that starts before is then found to be an old one, and never an old one taken for a new one.
    """
    host = desired.place.host.name
    notes = {systemd_units.fingerprint(service).path for service in desired.services}
    others = [step for file in desired.files if file.path not in notes for step in _file(host, file, facts)]
    noted = [step for file in desired.files if file.path in notes for step in _file(host, file, facts)]
    yield from others
    written = [step.action.file.path for step in others if isinstance(step.action, WriteFile)]
    is_written = any(str(path).startswith(systemd_units.FOLDER) for path in written)
    # Units that an apply wrote which ended before systemd had read them: their notes are those of before.
    if is_written or any(_names_another_unit(step, facts) for step in noted):
        yield Step(host, Stage.BASE, ReloadUnits(), "reload systemd's units", "units have changed")
    yield from noted


def _names_another_unit(step: Step, facts: HostFacts) -> bool:
    """Whether a note is to be written whose unit is not that of the note which is there."""
    if not isinstance(step.action, WriteFile):
        return False
    fact = facts.files.get(str(step.action.file.path))
    there = (fact.content or "").split() if fact else []
    return there[:1] != reveal(step.action.file.content).split()[:1]


def find_former_files(desired: DesiredHost, facts: HostFacts) -> tuple[Path, ...]:
    """Files of former packages that are still installed, where the packages of now have such a file too.

    A file belongs to packages when a folder above it is named after them.
    """
    wanted = {file.path for file in desired.files}
    now = desired.place.runtime.name
    managed = [Path(path) for path in facts.managed]
    former = [
        path
        for name in _list_former(desired, facts)
        for path in managed
        if name in path.parts and Path(*(now if part == name else part for part in path.parts)) in wanted
    ]
    unversioned = find_unversioned_files(desired, facts) if _list_without_files(desired, facts) else ()
    return (*former, *unversioned)


def find_unversioned_files(desired: DesiredHost, facts: HostFacts) -> tuple[Path, ...]:
    """Files of packages from before each had its own; they go with the next version."""
    now = desired.place.runtime.name
    unversioned = (file.path.parent.parent / file.path.name for file in desired.files if file.path.parent.name == now)
    return tuple(path for path in unversioned if str(path) in facts.managed)


def _list_without_files(desired: DesiredHost, facts: HostFacts) -> tuple[str, ...]:
    """The former packages that have no file of their own."""
    named = {part for path in facts.managed for part in Path(path).parts}
    return tuple(name for name in _list_former(desired, facts) if name not in named)


def _unpack(desired: DesiredHost, facts: HostFacts) -> Iterator[Step]:
    place = desired.place
    wanted = {"Airflow": place.runtime} if place.runs_airflow else {}
    if "database" in place.host.roles and patroni.is_wanted(place.fleet):
        wanted["Patroni"] = place.patroni
    if _runs_logs(desired):
        wanted["the log agent"] = place.logs
    for what, folder in wanted.items():
        if folder.name not in facts.runtimes:
            action = Unpack(folder.name, place.machine.system.python)
            words = f"unpack {what} into {folder}"
            yield Step(place.host.name, Stage.BASE, action, words, MISSING, "", TIMEOUT_UNPACK_S)


def _list_former(desired: DesiredHost, facts: HostFacts) -> list[str]:
    """The installed packages that are not those of now."""
    now = {desired.place.runtime.name, desired.place.patroni.name, desired.place.logs.name}
    return [name for name in facts.runtimes if name not in now]


def _remove_runtimes(desired: DesiredHost, facts: HostFacts) -> Iterator[Step]:
    if not desired.place.runs_airflow and not _runs_logs(desired):
        return
    others = _list_former(desired, facts)
    without = _list_without_files(desired, facts)
    for name in others[KEPT_RUNTIMES - 1 :]:
        files = find_unversioned_files(desired, facts) if without == (name,) else ()
        action = RemoveRuntime(name, files)
        yield Step(
            desired.place.host.name, Stage.EDGE, action, f"remove /opt/airfleet/{name}", "no process runs from it"
        )


def _runs_logs(desired: DesiredHost) -> bool:
    """Return whether a host has a log agent that does not run from Airflow's packages."""
    return bool(desired.place.fleet.with_role("logs")) and not desired.place.runs_airflow


def _jobs_and_services(desired: DesiredHost, facts: HostFacts) -> Iterator[Step]:
    host = desired.place.host.name
    for stage in Stage:
        for part in desired.parts:
            services = [service for service in part.services if service.stage == stage]
            jobs = [job for job in part.jobs if job.stage == stage]
            for job in jobs:
                if not job.after:
                    yield from _job(host, job, facts)
            for service in services:
                yield from _service(host, service, facts)
            for job in jobs:
                if job.after:
                    yield from _job(host, job, facts)


def _job(host: str, job: Job, facts: HostFacts) -> Iterator[Step]:
    known = facts.jobs.get(job.name)
    if known != job.fingerprint:
        why = "it changed since its last success" if known else "it has not succeeded on this host yet"
        yield Step(host, job.stage, RunJob(job), f"run {job.name}: {job.what}", why, "", job.timeout_s + 30)


def _service(host: str, service: Service, facts: HostFacts) -> Iterator[Step]:
    fact = facts.units.get(service.unit)
    note = reveal(systemd_units.fingerprint(service).content)
    how: Literal["start", "restart", "reload"]
    if fact is None or fact.active not in RUNNING:
        how, why = "start", "it is not running" if fact is None else f"it is {fact.active}"
    elif _is_current(service, fact):
        if fact.enabled == "enabled":
            return
        how, why = "start", "it would not start at the next boot"
    elif service.reload and fact.started_from.split()[:1] == note.split()[:1]:
        how, why = "reload", "a file that it reads has changed"
    else:
        how, why = "restart", "its unit or a file that it reads has changed"
    yield Step(host, service.stage, Bring(service, how), f"{how} {service.unit}", why, "", service.wait_s + 90)


def _file(host: str, file: HostFile, facts: HostFacts) -> Iterator[Step]:
    fact = facts.files.get(str(file.path))
    if fact is None:
        diff = "" if file.is_secret else render_diff(str(file.path), "", reveal(file.content))
        yield Step(host, Stage.BASE, WriteFile(file), f"write {file.path}", MISSING, diff)
    elif fact.digest != file.digest:
        shown = not file.is_secret and fact.content is not None
        diff = render_diff(str(file.path), fact.content or "", reveal(file.content)) if shown else ""
        why = "its secrets have changed" if file.is_secret else "its content differs"
        yield Step(host, Stage.BASE, WriteFile(file), f"write {file.path}", why, diff)
    elif (fact.owner, fact.group, fact.mode) != (file.owner, file.group, file.mode):
        why = f"is {fact.owner}:{fact.group} {fact.mode:o}"
        yield Step(host, Stage.BASE, WriteFile(file), f"write {file.path}", why)


def render_diff(path: str, before: str, after: str) -> str:
    """Return the change of one file, as `diff -u` shows it."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{path} (there)" if before else "/dev/null", path, lineterm=""
    )
    return "\n".join(lines)


def count(steps: Iterable[Step]) -> dict[str, int]:
    """Return the number of steps of each host."""
    counts: dict[str, int] = {}
    for step in steps:
        counts[step.host] = counts.get(step.host, 0) + 1
    return counts
