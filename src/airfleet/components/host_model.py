"""What a component needs on one host of a fleet, as plain data. The fleet's runner changes the host accordingly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Literal

from airfleet.components.health import CandidateCheck, HeartbeatCheck, HttpCheck, NoteCheck, TcpCheck
from airfleet.components.model import Credentials, OwnBroker, OwnDatabase, Site, reveal
from airfleet.components.postgresql.result_database import ResultLogins
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret
from airfleet.spec.topology import Host, Limits, Role
from airfleet_provider.contract.notification_policy import NotificationPolicy
from airfleet_provider.contract.openlineage_policy import OpenLineagePolicy
from airfleet_provider.contract.tracing_policy import TracingPolicy

ETC = Path("/etc/airfleet")
LIB = Path("/var/lib/airfleet")
LOG = Path("/var/log/airfleet")
RUN = Path("/run/airfleet")
OPT = Path("/opt/airfleet")
# The certificates of the authorities that a host trusts.
AUTHORITIES = ETC / "tls" / "ca.pem"
# Those of servers that somebody else runs.
DATABASE_AUTHORITIES, BROKER_AUTHORITIES = (AUTHORITIES.with_name(f"{one}.pem") for one in ("database", "broker"))
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - a host behind NAT does not have its own address; the firewall protects it
SERVER_USER, WORKER_USER = "airfleet", "airfleet-worker"
# The agents hold the secrets of receivers, which the code of Dag files must not read. That code runs as SERVER_USER.
AGENTS_USER = "airfleet-agents"
# The log agent reads what tasks write, and the log store keeps it.
LOGS_USER = "airfleet-logs"

# Ports between processes. The port that people use is in fleet.yaml.
API, EXECUTION, PROXY, API_TLS, EXECUTION_TLS = 8880, 8881, 8882, 8883, 8884
POSTGRES, PGBOUNCER, AMQP, AMQPS, EPMD, ERLANG = 5432, 6432, 5672, 5671, 4369, 25672
PATRONI, ETCD, ETCD_PEERS, ETCD_METRICS = 8008, 2379, 2380, 2381
WORKER_LOGS, TRIGGERER_LOGS = 8793, 8794
# The same on the loopback, where a HAProxy has the ports that other hosts use.
WORKER_LOGS_NEAR, TRIGGERER_LOGS_NEAR = 8795, 8796
NODE_METRICS, POSTGRES_METRICS, RABBITMQ_METRICS, AGENTS_METRICS = 9100, 9187, 15692, 9108
BALANCER_METRICS, PROXY_METRICS = 8405, 8406
# Where other hosts read all metrics of a host, with TLS.
METRICS_TLS = 9101
LOG_STORE, LOG_AGENT_METRICS = 9109, 9110
# Where HAProxy of a balancer says on the loopback whether it reaches a web host.
BALANCER_STATE = 8407
# VRRP is a protocol of its own beside TCP, and has no ports.
VRRP = 112
PROMETHEUS, ALERTMANAGER, ALERTMANAGER_PEERS = 9090, 9093, 9094


class Stage(IntEnum):
    """The order of changes, on one host and between hosts: a lower stage comes first."""

    BASE = 0
    CONSENSUS = 5  # what several database hosts agree by
    STORES = 10  # database and broker
    POOLER = 20
    DATABASES = 25  # roles and databases, where a database host may first have to copy another
    METADATA = 30
    API = 40
    CONTROL = 50
    WORK = 60
    EDGE = 70  # the balancer and other services that no task needs
    CLEANUP = 80  # once no process of a former version runs on any host of the fleet


@dataclass(frozen=True, slots=True)
class System:
    """An operating system: its name, and the versions of Python and PostgreSQL in its packages."""

    name: str
    python: str
    postgresql: int


@dataclass(frozen=True, slots=True)
class Link:
    """Where a host has an address: the name of the interface, and the number of bits of the network's address."""

    interface: str
    prefix: int


@dataclass(frozen=True, slots=True)
class HostMachine:
    """The facts of a host. `memory` is in bytes. `named` are the addresses that the host's name in fleet.yaml means.

    `links` are those of its IPv4 addresses.
    """

    system: System
    arch: str
    memory: int
    cpus: int
    addresses: tuple[str, ...]
    named: tuple[str, ...] = ()
    links: Mapping[str, Link] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostCertificate:
    """What proves a host's identity to others: its certificate, in PEM, and the private key."""

    certificate: str
    key: Secret


@dataclass(frozen=True, slots=True)
class TlsProgress:
    """How far the introduction of TLS has come for one kind of connection between hosts.

    Every server offers TLS. Clients use it once `is_used`; servers refuse everything else once `is_required`.
    """

    is_used: bool = True
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class Encryption:
    """TLS between the hosts of a fleet, and how far its introduction has come.

    `is_used` and `is_required` are those of connections to the database. A fleet may have got TLS for the database
    before it gets TLS for the `broker`, for the `api`, which are the servers of web hosts, for the `agents`, for
    the `logs` of tasks, for `metrics`, and for the `cluster` of RabbitMQ's nodes. `trusted` has the authorities that
    hosts believe, in PEM.
    """

    trusted: str
    certificates: Mapping[str, HostCertificate]
    is_used: bool = True
    is_required: bool = True
    broker: TlsProgress = field(default_factory=TlsProgress)
    api: TlsProgress = field(default_factory=TlsProgress)
    agents: TlsProgress = field(default_factory=TlsProgress)
    logs: TlsProgress = field(default_factory=TlsProgress)
    metrics: TlsProgress = field(default_factory=TlsProgress)
    cluster: TlsProgress = field(default_factory=TlsProgress)

    @property
    def client_words(self) -> dict[str, str]:
        """Return what a client of the database says of TLS, in the words of libpq; nothing until `is_used`."""
        return {"sslmode": "verify-full", "sslrootcert": str(AUTHORITIES)} if self.is_used else {}


@dataclass(frozen=True, slots=True)
class ClusterLogins:
    """The secrets with which several database hosts log in at each other and at etcd.

    `rewinder` reads the files of a primary. With it, a former primary becomes a replica without a whole copy.
    """

    etcd_root: Secret
    etcd: Secret
    rest: Secret
    rewinder: Secret


@dataclass(frozen=True, slots=True)
class FleetCredentials:
    """The secrets of one fleet. The control machine keeps them and gives each host only those that it needs.

    `identity` is not secret; it stays the same as long as the fleet exists. `consumers` maps each worker pool to its
    password at the broker. `former_pools` are no longer in fleet.yaml, but their workers may still drain. While
    `former_results` is set, hosts may still run a version of airfleet whose workers log in with it. Until it is None,
    airfleet does not remove what that version left at the broker and in the database.
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
    encryption: Encryption
    cluster: ClusterLogins
    former_results: Secret | None = None
    former_pools: tuple[str, ...] = ()
    # Servers that somebody else runs, as the control machine sees them.
    database: OwnDatabase | None = None
    broker: OwnBroker | None = None


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of fleet.yaml for Airflow's database, with their secrets, and the versions that its schema needs."""

    connections: Mapping[str, object]
    variables: Mapping[str, object]
    environment: Mapping[str, str | Secret]
    versions: str
    tls: Secret | None = None
    notifications: NotificationPolicy = field(default_factory=NotificationPolicy)
    # The password of the login for reports.
    reporting: Secret | None = None
    # The users, roles and rules of fleet.yaml, with passwords.
    access: Secret | None = None
    # Where users are who are not in fleet.yaml, with the secret of the service account or client.
    directory: Secret | None = None
    # The URL of the OpenSearch that keeps the lines of logs, with its login.
    opensearch: Secret | None = None
    # The collector of traces, with the secrets in its headers.
    tracing: TracingPolicy | None = None
    # The backends of OpenLineage, with their tokens.
    openlineage: OpenLineagePolicy | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One host, with all that a component needs to know of the fleet around it.

    Airflow is in the folder `runtime`, Patroni in `patroni`, and the log agent of a host without Airflow in `logs`,
    where the host runs them.
    """

    fleet: Fleet
    host: Host
    machine: HostMachine
    runtime: Path
    credentials: FleetCredentials
    objects: Objects
    patroni: Path = OPT / "patroni"
    logs: Path = OPT / "logs"

    @property
    def listen(self) -> str:
        """Return the address to listen on. That is every address if the host does not have its address, as with NAT."""
        wanted = (self.host.address, *self.machine.named)
        own = (one for one in wanted if one in self.machine.addresses and not one.startswith("127."))
        return next(own, self.host.address if self.host.address in self.machine.addresses else EVERY_ADDRESS)

    @property
    def own_address(self) -> str:
        """Return the address at which processes of this host reach its own services."""
        return self.host.address if self.listen == EVERY_ADDRESS else self.listen

    def addresses(self, *roles: Role) -> tuple[str, ...]:
        """Return the addresses of the hosts that have one of the roles."""
        return tuple(host.address for host in self.fleet.hosts if set(roles) & set(host.roles))

    @property
    def runs_airflow(self) -> bool:
        """Whether a process of this host runs from Airflow's packages."""
        return bool({"web", "scheduler", "worker"} & set(self.host.roles))

    @property
    def certificate(self) -> HostCertificate:
        """What this host proves its identity with."""
        return self.credentials.encryption.certificates[self.host.name]

    @property
    def public_url(self) -> str:
        """Return the URL of the UI."""
        return self.fleet.public_url

    def site(self, home: str) -> Site:
        """Return the paths, ports and addresses of Airflow's processes on this host."""
        alone, own = not self.fleet.with_role("balancer"), self.credentials.database
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
            tls=self.credentials.encryption.client_words,
            own_database=own.at(DATABASE_AUTHORITIES) if own else None,
        )


# The health checks that the fleet's runner can make on a host.
HostHealth = HttpCheck | HeartbeatCheck | CandidateCheck | TcpCheck | NoteCheck


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file and its whole content. A change replaces the file atomically."""

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
    """A folder that must exist, with its owner and mode."""

    path: Path
    owner: str = "root"
    group: str = "root"
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Service:
    """A long-running process that systemd runs. A change of one of its files restarts the service.

    With `reload`, a change runs those commands instead of a restart. `undo` is a command that removes what a command
    that has ended left behind, such as firewall rules. The service starts after the units `after`, and systemd stops it
    before them, also at a shutdown. The service may write only below `writes`. `sandbox` are lines of its unit that
    differ from the defaults of all services. Times are in seconds.
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
    """A shell script. It runs only if it has changed since its last success on this host.

    A job with a `version` runs only if the version has changed.
    """

    name: str
    what: str
    stage: Stage
    script: Secret
    user: str = "root"
    after: tuple[str, ...] = ()
    timeout_s: float = 300
    version: str = ""

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256((self.version or self.script.reveal()).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class OpenPort:
    """A port that the firewall opens to `sources`, or to everybody if there are none, and the reason.

    With the protocol `ip`, `number` is that of a protocol beside TCP and UDP. With an `interface`, only what comes in
    there is let in, and with an `address`, only what is sent to it.
    """

    number: int
    sources: tuple[str, ...]
    why: str
    protocol: Literal["tcp", "udp", "ip"] = "tcp"
    interface: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Everything that one component needs on one host. The files `early` must exist before packages are installed."""

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
    """Return a file with secrets, which belongs to root and which one group may read."""
    return HostFile(path, Secret(content), group, 0o640)
