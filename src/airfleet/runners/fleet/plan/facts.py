"""The facts of a host: the two scripts that read them, one round trip each, and the parsers of their output."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from airfleet.components.host_model import Folder, HostFile, Link
from airfleet.components.hosts import entrances
from airfleet.runners.fleet.transport import sections

LARGEST_DIFF = 200_000


def build_probe(address: str) -> str:
    """Return the script that reads the facts of a machine, and resolves its address of fleet.yaml there."""
    return sections.render(__package__, "probe", ADDRESS=address, TUNNEL=entrances.TUNNEL)


@dataclass(frozen=True, slots=True)
class Listener:
    """A process that listens on a TCP port. `is_ours` means that it belongs to a service of airfleet."""

    port: int
    program: str
    pid: int | None
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The facts of a machine that do not depend on its desired state. Memory and free space are in bytes."""

    os: tuple[str, str]
    arch: str
    cpus: int
    memory: int
    init: str
    addresses: tuple[str, ...]
    ssh_ports: tuple[int, ...]
    free: Mapping[str, int]
    packages: frozenset[str]
    listeners: tuple[Listener, ...]
    owner: str
    clock: int | None = None
    named: tuple[str, ...] = ()
    lease: str = ""
    airflow: str = ""
    links: Mapping[str, Link] = field(default_factory=dict)
    has_wireguard: bool = False
    # The address of the tunnel of administrators with its network, as 10.99.0.1/24.
    tunnel: str = ""


@dataclass(frozen=True, slots=True)
class FileFact:
    """A present file or folder. `content` is set if it differs from the desired content and is not secret."""

    digest: str
    owner: str
    group: str
    mode: int
    content: str | None = None


@dataclass(frozen=True, slots=True)
class UnitFact:
    """The state of a service, and the fingerprint of what it was started from."""

    active: str
    enabled: str
    started_from: str = ""
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The facts of a host that its desired state is compared with."""

    files: Mapping[str, FileFact] = field(default_factory=dict)
    folders: Mapping[str, FileFact] = field(default_factory=dict)
    units: Mapping[str, UnitFact] = field(default_factory=dict)
    jobs: Mapping[str, str] = field(default_factory=dict)
    users: frozenset[str] = frozenset()
    masked: frozenset[str] = frozenset()
    managed: frozenset[str] = frozenset()
    runtimes: tuple[str, ...] = ()
    packages: frozenset[str] = frozenset()


def parse_probe(text: str) -> MachineFacts:
    """Return the facts in the output of the probe. A fact that the host could not read is empty."""
    parts = sections.split(text)
    system = parts.get("os", [])
    spaces = [line.rsplit(" ", 1) for line in parts.get("space", []) if " " in line]
    return MachineFacts(
        os=(_at(system, 0), _at(system, 1)),
        arch=_at(parts.get("arch", []), 0),
        cpus=int(_at(parts.get("cpus", []), 0) or 1),
        memory=int(_at(parts.get("memory", []), 0) or 0) * 1024,
        init=_at(parts.get("init", []), 0),
        addresses=tuple(dict.fromkeys(parts.get("addresses", []))),
        named=tuple(dict.fromkeys(parts.get("named", []))),
        links=dict(_links(parts.get("links", []))),
        has_wireguard=_at(parts.get("wireguard", []), 0) == "yes",
        tunnel=_at(parts.get("tunnel", []), 0),
        ssh_ports=tuple(int(port) for port in dict.fromkeys(parts.get("ssh", [])) if port.isdigit()),
        free={path: int(kib) * 1024 for path, kib in spaces if kib.isdigit()},
        packages=frozenset(parts.get("packages", [])),
        listeners=tuple(_listeners(parts.get("listeners", []))),
        owner=_at(parts.get("owner", []), 0),
        lease=" ".join(parts.get("lease", [])),
        airflow=_at(parts.get("airflow", []), 0),
        clock=int(said) if (said := _at(parts.get("clock", []), 0)).isdigit() else None,
    )


def _links(lines: Iterable[str]) -> Iterable[tuple[str, Link]]:
    for line in lines:
        interface, _, network = line.partition(" ")
        address, _, prefix = network.partition("/")
        if prefix.isdigit():
            yield address, Link(interface, int(prefix))


def _listeners(lines: Iterable[str]) -> Iterable[Listener]:
    for line in lines:
        address, whose, users = [*line.split(" ", 2), "", ""][:3]
        port = address.rpartition(":")[2]
        program = users.partition('(("')[2].partition('"')[0]
        pid = users.partition("pid=")[2].partition(",")[0]
        if port.isdigit():
            yield Listener(int(port), program, int(pid) if pid.isdigit() else None, whose == "ours")


def build_question(
    files: Iterable[HostFile], folders: Iterable[Folder], users: Iterable[str], masks: Iterable[str]
) -> str:
    """Return the script that reads the state of these objects. It sends files that differ, unless they are secret."""
    return sections.render(
        __package__,
        "compare",
        FILES="\n".join(f"{file.digest} {'hide' if file.is_secret else 'show'} {file.path}" for file in files),
        FOLDERS="\n".join(str(folder.path) for folder in folders),
        LARGEST_DIFF=LARGEST_DIFF,
        USERS=" ".join(users) or "root",
        MASKS=" ".join(masks),
    )


def parse_answer(text: str, packages: frozenset[str]) -> HostFacts:
    """Return the facts of a host from the output of the script of `build_question`."""
    parts = sections.split(text)
    started = dict(_pairs(parts.get("started", [])))
    return HostFacts(
        files=dict(_files(parts.get("files", []))),
        folders=dict(_files(parts.get("folders", []))),
        units={
            values["Id"]: UnitFact(
                values.get("ActiveState", ""),
                values.get("UnitFileState", ""),
                started.get(values["Id"], "").replace(" ", "\n"),
                int(values.get("NRestarts") or 0),
            )
            for values in _blocks(parts.get("units", []))
        },
        jobs=dict(_pairs(parts.get("jobs", []))),
        users=frozenset(parts.get("users", [])),
        masked=frozenset(parts.get("masked", [])),
        managed=frozenset(parts.get("managed", [])),
        runtimes=tuple(name for name in parts.get("runtimes", []) if not name.startswith(".")),
        packages=packages,
    )


def _files(lines: Iterable[str]) -> Iterable[tuple[str, FileFact]]:
    for line in lines:
        head, _, content = line.partition("\t")
        digest, owner, group, mode, path = head.split(" ", 4)
        shown = base64.b64decode(content).decode(errors="replace") if content else None
        yield path, FileFact(digest, owner, group, int(mode, 8), shown)


def _blocks(lines: Iterable[str]) -> Iterable[dict[str, str]]:
    """Yield the properties of each unit. systemctl prints the same property, the unit's name, first for each unit."""
    block: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition("=")
        if key in block:
            yield block
            block = {}
        block[key] = value
    if "Id" in block:
        yield block


def _pairs(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        key, _, value = line.partition(" ")
        yield key, value


def _at(lines: list[str], index: int) -> str:
    return lines[index].strip() if index < len(lines) else ""
