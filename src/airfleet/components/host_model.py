"""What a component puts on one host of a fleet, as plain data that the fleet's runner makes true."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from airfleet.components.health import CandidateCheck, HeartbeatCheck, HttpCheck, TcpCheck
from airfleet.components.model import Credentials, Site, reveal
from airfleet.components.postgresql.result_database import ResultLogins
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret
from airfleet.spec.topology import Host, Limits, Role

ETC = Path("/etc/airfleet")
LIB = Path("/var/lib/airfleet")
LOG = Path("/var/log/airfleet")
RUN = Path("/run/airfleet")
OPT = Path("/opt/airfleet")
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - a host behind NAT has no other; the firewall is in front
SERVER_USER, WORKER_USER = "airfleet", "airfleet-worker"

# Ports that nobody has to know; those that people use are in fleet.yaml.
API, EXECUTION, PROXY = 8880, 8881, 8882
POSTGRES, PGBOUNCER, AMQP, EPMD, ERLANG = 5432, 6432, 5672, 4369, 25672
WORKER_LOGS, TRIGGERER_LOGS = 8793, 8794
NODE_METRICS, POSTGRES_METRICS, RABBITMQ_METRICS = 9100, 9187, 15692


class Stage(IntEnum):
    """What comes before what, on one host and from host to host."""

    BASE = 0
    STORES = 10  # database and broker
    POOLER = 20
    METADATA = 30
    API = 40
    CONTROL = 50
    WORK = 60
    EDGE = 70  # what people look through, and no task needs


@dataclass(frozen=True, slots=True)
class System:
    """What an operating system's own packages are called and where they put things."""

    name: str
    python: str
    postgresql: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What a host turned out to be; `named` is what its address in fleet.yaml means there, where that is a name."""

    system: System
    arch: str
    memory: int
    cpus: int
    addresses: tuple[str, ...]
    named: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetCredentials:
    """The secrets of one fleet, made once and kept on the control machine; a host is given its own only.

    `identity` is no secret: a word that is the same for as long as the fleet is. `consumers` has the broker's password
    of each worker pool. `former_pools` are no longer in fleet.yaml; some of their workers may still drain. With
    `former_results` hosts may still run a version whose workers log in with it, and what that version left at the
    broker and in the database stays.
    """

    platform: Credentials
    replication: Secret
    monitor: Secret
    erlang_cookie: Secret
    identity: str
    results: ResultLogins
    publisher: Secret
    consumers: Mapping[str, Secret]
    signing: Secret
    former_results: Secret | None = None
    former_pools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Objects:
    """What fleet.yaml wants Airflow's database to hold, secrets resolved, and what the schema depends on."""

    connections: Mapping[str, object]
    variables: Mapping[str, object]
    environment: Mapping[str, str | Secret]
    versions: str
    tls: Secret | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One host, with all that a component needs to know of the fleet around it."""

    fleet: Fleet
    host: Host
    machine: Machine
    runtime: Path
    credentials: FleetCredentials
    objects: Objects

    @property
    def listen(self) -> str:
        """The one address to listen on; all of them where the host's address is not its own, as behind NAT."""
        wanted = (self.host.address, *self.machine.named)
        own = (one for one in wanted if one in self.machine.addresses and not one.startswith("127."))
        return next(own, self.host.address if self.host.address in self.machine.addresses else EVERY_ADDRESS)

    @property
    def own_address(self) -> str:
        """Where this host reaches what it listens on."""
        return self.host.address if self.listen == EVERY_ADDRESS else self.listen

    def addresses(self, *roles: Role) -> tuple[str, ...]:
        """Where the hosts with any of the roles are."""
        return tuple(host.address for host in self.fleet.hosts if set(roles) & set(host.roles))

    @property
    def primary(self) -> Host:
        """The host of the database that takes writes."""
        return self.fleet.primary

    @property
    def public_url(self) -> str:
        """Where people find the UI."""
        edges = self.addresses("balancer") or self.addresses("web")
        return f"{'https' if self.fleet.tls else 'http'}://{edges[0]}:{self.fleet.ports.api}"

    def site(self, home: str) -> Site:
        """The place of Airflow's processes on this host."""
        alone = not self.fleet.with_role("balancer")
        return Site(
            project=LIB / home / "project",
            state=LIB / home,
            python=self.runtime / "bin" / "python",
            postgres_bin=Path(f"/usr/lib/postgresql/{self.machine.system.postgresql}/bin"),
            instance=self.fleet.name,
            api_port=self.fleet.ports.api if alone else API,
            execution_port=EXECUTION,
            database_port=PGBOUNCER,
            listen=self.listen,
            database_hosts=self.addresses("database"),
            public_url=self.public_url,
        )


# What a host can be asked about one of its services.
HostHealth = HttpCheck | HeartbeatCheck | CandidateCheck | TcpCheck


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file with its whole content, replaced atomically."""

    path: Path
    content: str | Secret
    group: str = "root"
    mode: int = 0o644
    owner: str = "root"

    @property
    def is_secret(self) -> bool:
        return isinstance(self.content, Secret)

    @property
    def digest(self) -> str:
        return hashlib.sha256(reveal(self.content).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that is there, with its owner and mode."""

    path: Path
    owner: str = "root"
    group: str = "root"
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Service:
    """A long-running process as systemd runs it; it starts again when any of the files it reads has changed.

    With `reload` a changed file is only announced to it; `undo` takes back what a command that has ended left behind.
    It has ended before what it comes `after` is stopped, also when the host shuts down.
    It may write to `writes` alone; `sandbox` are lines of its unit that differ from those of every other service.
    """

    name: str
    what: str
    stage: Stage
    command: tuple[str, ...]
    user: str
    files: tuple[HostFile, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    env_files: tuple[Path, ...] = ()
    reload: tuple[tuple[str, ...], ...] = ()
    undo: tuple[str, ...] = ()
    kind: str = "simple"
    kill_mode: str = "mixed"
    stop_signal: str = "SIGTERM"
    stop_s: float = 30
    limits: Limits = field(default_factory=Limits)
    health: HostHealth | None = None
    wait_s: float = 90
    drains: bool = False
    after: tuple[str, ...] = ()
    writes: tuple[Path, ...] = ()
    sandbox: Mapping[str, str] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        return f"airfleet-{self.name}.service"


@dataclass(frozen=True, slots=True)
class Job:
    """A shell script that is run again only when it has changed since it last ended well on this host."""

    name: str
    what: str
    stage: Stage
    script: Secret
    user: str = "root"
    after: tuple[str, ...] = ()
    timeout_s: float = 300

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.script.reveal().encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class OpenPort:
    """A port that a role opens: who may come in (nobody named means everybody), and why."""

    number: int
    sources: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Part:
    """All that one component puts on one host; files that only matter before packages come are `early`."""

    name: str
    packages: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    folders: tuple[Folder, ...] = ()
    early: tuple[HostFile, ...] = ()
    files: tuple[HostFile, ...] = ()
    jobs: tuple[Job, ...] = ()
    services: tuple[Service, ...] = ()
    ports: tuple[OpenPort, ...] = ()


def private(path: Path, content: str, group: str) -> HostFile:
    """A file with secrets that root writes and one group reads."""
    return HostFile(path, Secret(content), group, 0o640)
