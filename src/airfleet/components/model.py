"""Components, as plain data that every runner can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from airfleet.components.health import LOOPBACK, Health
from airfleet.components.postgresql.result_database import ResultLogins
from airfleet.spec.addresses import is_ipv6, join_port
from airfleet.spec.secrets import Secret, find_login
from airfleet_provider.contract import dead_peer
from airfleet_provider.contract.own_broker import API_PORT, API_TLS_PORT, BrokerAddress

# libpq's options against a host that lost its power and so does not even refuse a connection. A new connection fails
# after 3 s, an open one after 11 s of silence.
DEAD_PEER = {
    "connect_timeout": dead_peer.CONNECT_S,
    "tcp_user_timeout": dead_peer.USER_TIMEOUT_MS,
    "keepalives_idle": dead_peer.IDLE_S,
    "keepalives_interval": dead_peer.INTERVAL_S,
    "keepalives_count": dead_peer.COUNT,
}


def reveal(value: str | Secret) -> str:
    """Return the plain text of a value that may be a secret."""
    return value.reveal() if isinstance(value, Secret) else value


@dataclass(frozen=True, slots=True)
class File:
    """A file and its whole content. A change replaces the file atomically."""

    path: Path
    content: str | Secret
    mode: int = 0o600


@dataclass(frozen=True, slots=True)
class Command:
    """A program that creates the folder `creates`, its last argument. It runs only if the folder is not complete."""

    argv: tuple[str, ...]
    creates: Path
    stdin: Secret
    unprivileged: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """A long-running process, or with `once` a job that must succeed before the processes `after` it may start.

    A job with a `fingerprint` does not run again while the database records its success with the same fingerprint.
    A process stops after all processes that start `after` it, and after those in `stops_after`. The files `inputs`
    exist only while the process runs. `commands` run one after another. A command that begins with `airflow` is
    Airflow's own command line; a runner may fork it from the image. `preload` names the modules to import in advance,
    and as `module:function` the functions to call in advance. A program that is `gated` imports what it needs and then
    waits at `environment.GATE`, if its runner gives it one. A process that is forked `early` needs only the first
    modules of the image.
    """

    name: str
    commands: tuple[tuple[str | Secret, ...], ...]
    health: Health | None = None
    after: tuple[str, ...] = ()
    stops_after: tuple[str, ...] = ()
    once: bool = False
    fingerprint: str = ""
    inputs: tuple[File, ...] = ()
    preload: tuple[str, ...] = ()
    env: dict[str, str | Secret] = field(default_factory=dict)
    url: str = ""
    stop_signal: str = "SIGTERM"
    stop_timeout_s: float = 10.0
    unprivileged: bool = False
    gated: bool = False
    early: bool = False

    @property
    def warm(self) -> bool:
        """Return whether every command is Airflow's, so that the process is forked from the image."""
        return all(command[0] == "airflow" for command in self.commands)


@dataclass(frozen=True, slots=True)
class Component:
    """One component: the commands and files that it needs in advance, and its processes."""

    name: str
    processes: tuple[Process, ...]
    prepare: tuple[Command, ...] = ()
    files: tuple[File, ...] = ()


class Origin(StrEnum):
    """The source of a setting."""

    AIRFLEET = "airfleet"
    USER = "user"  # under `airflow` in fleet.yaml


@dataclass(frozen=True, slots=True)
class Setting:
    """One value in airflow.cfg, the reason why it is not Airflow's default, and its source."""

    section: str
    key: str
    value: str
    why: str
    origin: Origin = Origin.AIRFLEET


@dataclass(frozen=True, slots=True)
class Credentials:
    """The secrets of one platform. They are made once and kept in the state folder."""

    admin: Secret
    superuser: Secret
    airflow: Secret
    fernet_key: Secret
    jwt_secret: Secret
    jwt_key: Secret
    secret_key: Secret
    databases: dict[str, Secret]
    results: ResultLogins | None = None


@dataclass(frozen=True, slots=True)
class BrokerPorts:
    """The ports of a RabbitMQ node on the loopback: for clients, Erlang's name server, and other nodes.

    On the port `metrics` the node serves its metrics; 0 means that it serves none.
    """

    amqp: int
    names: int
    nodes: int
    metrics: int = 0


@dataclass(frozen=True, slots=True)
class BrokerNode:
    """One RabbitMQ node that shares nothing with other nodes on this machine."""

    name: str
    folder: Path
    server: Path
    names_server: Path
    ports: BrokerPorts
    publisher: Secret
    consumer: Secret
    cookie: Secret
    signing: Secret


@dataclass(frozen=True, slots=True)
class OwnDatabase:
    """The metadata database on a server that somebody else runs. `tls` is in the words of libpq.

    `authorities` is the text of the file that `tls` names, in PEM; empty if it names none.
    """

    host: str
    port: int
    name: str
    user: str
    password: Secret
    tls: Mapping[str, str] = field(default_factory=dict)
    authorities: str = ""

    def at(self, authorities: Path) -> OwnDatabase:
        """Return the database as a host sees it that has the certificates of the authorities in this file."""
        return replace(self, tls={**self.tls, "sslrootcert": str(authorities)}) if self.authorities else self

    def beside(self, name: str) -> OwnDatabase:
        """Return another database of the same server and login."""
        return replace(self, name=name)

    @property
    def is_here(self) -> bool:
        """Whether the server is on this machine."""
        return self.host in (LOOPBACK, "localhost", "::1") or self.host.startswith("/")

    def through(self, port: int) -> Secret:
        """Return the URL for libpq that leads through a port of this machine, and checks the server's certificate."""
        url = replace(self, port=port).dsn().reveal()
        return Secret(f"{url}{'&' if '?' in url else '?'}hostaddr={LOOPBACK}")

    def dsn(self, *, driver: str = "") -> Secret:
        """Return the URL of the database."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        user, password, name = (quote(word, safe="") for word in (self.user, self.password.reveal(), self.name))
        limits = {} if driver == "asyncpg" else dict(DEAD_PEER)
        query = urlencode({**limits, **self.tls})
        place = join_port(self.host, self.port)
        return Secret(f"{scheme}://{user}:{password}@{place}/{name}{f'?{query}' if query else ''}")


@dataclass(frozen=True, slots=True)
class OwnBroker:
    """A virtual host of a RabbitMQ that somebody else runs. `management` is the URL of its API, with a login.

    `authorities` is the text of the file `file`, in PEM; both are empty where those of the system count.
    """

    host: str
    port: int
    vhost: str
    user: str
    password: Secret
    has_tls: bool
    authorities: str = ""
    file: str = ""
    management: Secret | None = None

    def at(self, authorities: Path) -> OwnBroker:
        """Return the broker as a host sees it that has the certificates of the authorities in this file."""
        return replace(self, file=str(authorities)) if self.authorities else self

    @property
    def address(self) -> BrokerAddress:
        """Return what a client of AMQP needs."""
        return BrokerAddress(
            self.host, self.port, self.vhost, self.user, self.password.reveal(), self.has_tls, self.file
        )

    def find_api(self) -> tuple[str, int] | None:
        """Return the host and the port of the management API, if it is given."""
        if self.management is None:
            return None
        parts = urlsplit(self.management.reveal())
        return parts.hostname or "", parts.port or (API_TLS_PORT if parts.scheme == "https" else API_PORT)

    def url(self) -> Secret:
        """Return the URL for Celery."""
        login = ":".join(quote(word, safe="") for word in (self.user, self.password.reveal()))
        scheme = "amqps" if self.has_tls else "amqp"
        return Secret(f"{scheme}://{login}@{join_port(self.host, self.port)}/{quote(self.vhost, safe='')}")


@dataclass(frozen=True, slots=True)
class OutsideBroker:
    """A RabbitMQ that somebody else runs, for a platform on one machine. Files of its clients are in `folder`."""

    broker: OwnBroker
    folder: Path
    publisher: Secret
    consumer: Secret
    signing: Secret


@dataclass(frozen=True, slots=True)
class BrokerLink:
    """What Celery's processes of one machine need of a broker: a URL for each side, and the key of the messages.

    `server` is the component that runs the broker, or makes its queues.
    """

    server: Component
    folder: Path
    publisher: Secret
    consumer: Secret
    kind: str
    signing: Secret
    authorities: Path | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """The paths and ports of the platform on one machine, and the addresses of what runs on other machines."""

    project: Path
    state: Path
    python: Path
    postgres_bin: Path
    instance: str
    api_port: int
    execution_port: int
    database_port: int
    broker: BrokerNode | None = None
    outside_broker: OutsideBroker | None = None
    listen: str = LOOPBACK
    database_hosts: tuple[str, ...] = (LOOPBACK,)
    public_url: str = ""
    # What clients of the database say of TLS, in the words of libpq.
    tls: Mapping[str, str] = field(default_factory=dict)
    # Where the agents serve metrics and their health.
    agents_port: int = 0
    # Where the log agent serves its metrics and its health; 0 means that there is none.
    log_agent_port: int = 0
    own_database: OwnDatabase | None = None

    @property
    def has_broker(self) -> bool:
        """Whether tasks go through a broker."""
        return bool(self.broker or self.outside_broker)

    @property
    def api_url(self) -> str:
        return f"http://{join_port(self.listen, self.api_port)}"

    @property
    def execution_url(self) -> str:
        return f"http://{join_port(self.listen, self.execution_port)}"

    @property
    def base_url(self) -> str:
        """Return the URL of the UI. In a fleet with a balancer, it is the balancer's."""
        return self.public_url or self.api_url

    @property
    def airflow_home(self) -> Path:
        return self.state / "airflow"

    @property
    def postgres_data(self) -> Path:
        return self.state / "postgres"

    @property
    def backups(self) -> Path:
        return self.state / "backups"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def log_index(self) -> Path:
        return self.state / "log-index"

    def dsn(self, database: str, user: str, password: Secret, *, driver: str = "") -> Secret:
        """Return the URL of a database. libpq finds the primary among `database_hosts`. Passwords need no quoting.

        With `tls` the connection is encrypted, and the server's certificate has to name the host. The metadata database
        may be somebody else's: then its own URL counts.
        """
        if self.own_database:
            return self.own_database.dsn(driver=driver)
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        login = f"{scheme}://{find_login(user, password)}:{password.reveal()}"
        # asyncpg has no such options in a URL: airfleet_provider.network.keepalive sets the limits.
        limits = [] if driver == "asyncpg" else [f"{name}={value}" for name, value in DEAD_PEER.items()]
        limits += [f"{name}={value}" for name, value in self.tls.items()]
        if len(self.database_hosts) == 1:
            [host] = self.database_hosts
            query = f"?{'&'.join(limits)}" if limits and host != LOOPBACK else ""
            return Secret(f"{login}@{join_port(host, self.database_port)}/{database}{query}")
        hosts = [f"host={host}:{self.database_port}" for host in self.database_hosts]
        if any(map(is_ipv6, self.database_hosts)):
            # SQLAlchemy divides the other form at each colon.
            ports = ",".join(str(self.database_port) for _ in self.database_hosts)
            hosts = [f"host={','.join(self.database_hosts)}", f"port={ports}"]
        words = "&".join([*hosts, "target_session_attrs=read-write", *limits])
        return Secret(f"{login}@/{database}?{words}")
