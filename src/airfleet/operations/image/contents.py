"""What an image of machines holds: those steps of an apply that its hosts need and that hold no secret."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import airfleet
from airfleet.components.host_model import OPT, FleetCredentials, HostMachine, Objects, Place, System
from airfleet.components.hosts import host_parts
from airfleet.components.hosts.systems import ARCHITECTURES, SYSTEMS
from airfleet.components.model import OwnBroker, OwnDatabase
from airfleet.errors import AirfleetError, UsageError
from airfleet.runners.fleet.packaging import airflow_archive
from airfleet.runners.fleet.packaging.airflow_archive import Recipe
from airfleet.runners.fleet.plan import diff, steps
from airfleet.runners.fleet.plan.diff import DesiredHost
from airfleet.runners.fleet.plan.facts import HostFacts
from airfleet.runners.fleet.plan.steps import AddUser, Install, Mask, Step, Unpack, WriteFile
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret
from airfleet.spec.topology import Host
from airfleet.workspace import airflow_version, credentials
from airfleet.workspace.rotation import RotationLedger
from airfleet.workspace.state_folder import StateFolder

# What airfleet and a cloud need on every machine, whatever its roles.
LOGIN_PACKAGES = (
    *("ca-certificates", "cloud-init", "dbus", "iproute2", "libpam-systemd", "openssh-server", "procps", "python3"),
    *("sudo", "systemd-sysv", "udev"),
)
# Nothing of these values is written anywhere: no step of an image holds a secret. A host of a group that is not yet
# made gets an address of those that are kept for texts (RFC 5737).
_NOBODY = Secret("none")
_DATABASE = OwnDatabase("database.invalid", 5432, "none", "none", _NOBODY)
_BROKER = OwnBroker("broker.invalid", 5671, "/", "none", _NOBODY, has_tls=True)


@dataclass(frozen=True, slots=True)
class ImageStep:
    """One step that prepares a machine. `input` is the digest of the archive that the script reads, or empty."""

    what: str
    script: str
    input: str = ""


@dataclass(frozen=True, slots=True)
class ImageContents:
    """Everything in one image. `packages` are those of the system; `recipes` say what each archive holds."""

    fleet: str
    system: System
    arch: str
    hosts: tuple[str, ...]
    packages: tuple[str, ...]
    before: tuple[ImageStep, ...]
    after: tuple[ImageStep, ...]
    recipes: tuple[Recipe, ...] = field(default=())

    @property
    def install(self) -> ImageStep:
        """Return the step that installs the packages from the mirrors of the machine."""
        return ImageStep("install the packages of the system", steps.script(Install(self.packages)))

    @property
    def note(self) -> str:
        """Return what a machine says of the image that it was made from, as JSON."""
        said = {
            "airfleet": airfleet.__version__,
            "fleet": self.fleet,
            "hosts": self.hosts,
            "system": self.system.name,
            "packages": self.packages,
            "archives": {recipe.digest: recipe.what for recipe in self.recipes},
        }
        return json.dumps(said, indent=2) + "\n"

    @property
    def name(self) -> str:
        """Return a name for the image, which changes with anything in it."""
        text = repr((self.before, self.install, self.after))
        return f"airfleet-{self.fleet}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def read_contents(
    fleet: Fleet, project: Path, *, groups: Collection[str], system: System, arch: str, airflow: str
) -> ImageContents:
    """Return what the hosts of these groups have in common with an empty machine's way to them. No groups mean all.

    Raises:
        UsageError: fleet.yaml names no machines and no hosts, or not these.
    """
    hosts = find_hosts(fleet)
    chosen = _choose(hosts, fleet, groups)
    recipes = (
        airflow_archive.read_recipe(project, fleet.requirements, airflow=airflow, python=system.python, arch=arch),
        airflow_archive.read_patroni(python=system.python, arch=arch),
        airflow_archive.read_logs(python=system.python, arch=arch),
    )
    places = _place(replace(fleet, hosts=hosts), chosen, recipes, system=system, arch=arch)
    steps_of_all = [step for place in places for step in _list_steps(place)]
    packages = {name for step in steps_of_all if isinstance(step.action, Install) for name in step.action.packages}
    by_digest = {recipe.digest: recipe for recipe in recipes}
    # What keeps the services of packages from starting comes before the packages.
    before = [step for step in steps_of_all if isinstance(step.action, Mask | WriteFile)]
    after = [step for step in steps_of_all if isinstance(step.action, AddUser | Unpack)]
    used = dict.fromkeys(step.action.digest for step in after if isinstance(step.action, Unpack))
    return ImageContents(
        fleet=fleet.name,
        system=system,
        arch=arch,
        hosts=tuple(host.name for host in chosen),
        packages=tuple(sorted({*packages, *LOGIN_PACKAGES})),
        before=_unite(before),
        after=_unite(after),
        recipes=tuple(by_digest[digest] for digest in used),
    )


def find_hosts(fleet: Fleet) -> tuple[Host, ...]:
    """Return the hosts of fleet.yaml, and those that its machines will be which are no hosts yet.

    Raises:
        UsageError: It has neither.
    """
    groups = fleet.machines.groups if fleet.machines else ()
    if not fleet.hosts and not groups:
        raise UsageError(
            "fleet.yaml names no hosts and no machines", hint="name them under `machines`: `airfleet docs`"
        )
    every = tuple(pool.name for pool in fleet.pools)
    there = {host.name for host in fleet.hosts}
    found: list[Host] = []
    for group in groups:
        roles = group.roles or ("worker",)
        pools = (group.pools or every) if "worker" in roles else ()
        # Two machines need what all need: with two database hosts there is a replica.
        names = [name for name in group.names[:2] if name not in there]
        found += [Host(name, f"192.0.2.{len(found) + number}", roles, pools) for number, name in enumerate(names, 1)]
    return (*fleet.hosts, *found)


def _choose(hosts: tuple[Host, ...], fleet: Fleet, groups: Collection[str]) -> tuple[Host, ...]:
    if not groups:
        return hosts
    names = {group.name: group.names for group in (fleet.machines.groups if fleet.machines else ())}
    if unknown := sorted(set(groups) - names.keys()):
        hint = f"`machines.groups` of fleet.yaml has {', '.join(names) or 'none'}"
        raise UsageError(f"there is no group {', '.join(unknown)}", hint=hint)
    wanted = {name for group in groups for name in names[group]}
    chosen = tuple(host for host in hosts if host.name in wanted)
    if not chosen:
        raise UsageError(f"the group {', '.join(groups)} has no machines", hint="its `count` is 0")
    return chosen


def _place(
    fleet: Fleet, chosen: tuple[Host, ...], recipes: tuple[Recipe, Recipe, Recipe], *, system: System, arch: str
) -> Iterator[Place]:
    """Yield each host with secrets that are made here and thrown away: those of the project are not even read."""
    bare = replace(fleet, env={}, connections={}, variables={}, tls=None)
    airflow, patroni, logs = recipes
    with tempfile.TemporaryDirectory(prefix="airfleet-") as name:
        folder = StateFolder(Path(name))
        folder.create()
        made_up = credentials.read(folder, RotationLedger(folder.secrets), bare)
    for host in chosen:
        machine = HostMachine(system, arch, 1 << 40, 4, (host.address,))
        yield Place(
            *(bare, host, machine, OPT / airflow.digest, _with_servers(bare, made_up), Objects({}, {}, {}, "")),
            patroni=OPT / patroni.digest,
            logs=OPT / logs.digest,
        )


def _with_servers(fleet: Fleet, made_up: FleetCredentials) -> FleetCredentials:
    return replace(made_up, database=_DATABASE if fleet.database else None, broker=_BROKER if fleet.broker else None)


def _list_steps(place: Place) -> Iterator[Step]:
    desired = DesiredHost(place, host_parts.describe(place, ssh_ports=(22,)))
    early = {file.path for file in desired.early}
    for step in diff.decide(desired, HostFacts()):
        match step.action:
            case Mask() | Install() | AddUser() | Unpack():
                yield step
            case WriteFile(file) if file.path in early and not file.is_secret:
                yield step
            case _:
                pass


def _unite(found: list[Step]) -> tuple[ImageStep, ...]:
    """Return each step once, though several hosts need it."""
    united = {
        ImageStep(
            step.what, steps.script(step.action), step.action.digest if isinstance(step.action, Unpack) else ""
        ): None
        for step in found
    }
    return tuple(united)


def find_system(identity: tuple[str, str], where: str) -> System:
    """Return the system with this ID and VERSION_ID of /etc/os-release.

    Raises:
        AirfleetError: airfleet does not know it.
    """
    if system := SYSTEMS.get(identity):
        return system
    known = ", ".join(one.name for one in SYSTEMS.values())
    raise AirfleetError(
        f"{' '.join(identity).strip() or 'this system'} is not supported", where=where, hint=f"use {known}"
    )


def check_arch(arch: str) -> None:
    """Check the name of an architecture.

    Raises:
        UsageError: No host of a fleet may have it.
    """
    if arch not in ARCHITECTURES:
        hint = f"use {' or '.join(sorted(ARCHITECTURES))}, as `uname -m` says it"
        raise UsageError(f"{arch or 'an empty name'} is no architecture of hosts", where="--arch", hint=hint)


def find_airflow(folder: StateFolder) -> str:
    """Return the version of Airflow that the hosts of this fleet have, or will have."""
    return airflow_version.read(folder).version
