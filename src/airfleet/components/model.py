"""What a component is, as plain data that every runner can make true."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from airfleet.components.health import LOOPBACK, Health
from airfleet.components.postgresql.result_database import ResultLogins
from airfleet.spec.secrets import Secret, find_login
from airfleet_provider.contract import dead_peer

# libpq's words for a host that has lost its power, and so does not even refuse: noticed after 3 s, or 11 s of silence.
DEAD_PEER = {
    "connect_timeout": dead_peer.CONNECT_S,
    "tcp_user_timeout": dead_peer.USER_TIMEOUT_MS,
    "keepalives_idle": dead_peer.IDLE_S,
    "keepalives_interval": dead_peer.INTERVAL_S,
    "keepalives_count": dead_peer.COUNT,
}


def reveal(value: str | Secret) -> str:
    """The plain text of a value, for the one place that hands it on."""
    return value.reveal() if isinstance(value, Secret) else value


@dataclass(frozen=True, slots=True)
class File:
    """A file with its whole content, replaced atomically."""

    path: Path
    content: str | Secret
    mode: int = 0o600


@dataclass(frozen=True, slots=True)
class Command:
    """A program that fills the folder `creates`, its last argument, unless that exists, and anew when half-made."""

    argv: tuple[str, ...]
    creates: Path
    stdin: Secret
    unprivileged: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """A long-running process, or with `once` a job that must end well before what is `after` it may start.

    A job with a `fingerprint` is not run again while the database remembers that it ended well with the same one.
    A process stops once all that came `after` it have stopped, and all that it `stops_after`. `inputs` are files that
    are there while it runs, and at no other time.
    `commands` are run one after another. Those that begin with `airflow` are Airflow's own command lines and may be
    forked from an image that has imported it; `preload` names the modules worth importing before they are needed, and
    as `module:function` what is worth calling.
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

    @property
    def warm(self) -> bool:
        """Whether every command is Airflow's, so that the process is forked from the image."""
        return all(command[0] == "airflow" for command in self.commands)


@dataclass(frozen=True, slots=True)
class Component:
    """One thing that runs: what must be there before it, and its processes."""

    name: str
    processes: tuple[Process, ...]
    prepare: tuple[Command, ...] = ()
    files: tuple[File, ...] = ()


class Origin(StrEnum):
    """Who chose a setting."""

    AIRFLEET = "airfleet"
    USER = "user"  # under `airflow` in fleet.yaml


@dataclass(frozen=True, slots=True)
class Setting:
    """One value in airflow.cfg, why it is not Airflow's own default, and who chose it."""

    section: str
    key: str
    value: str
    why: str
    origin: Origin = Origin.AIRFLEET


@dataclass(frozen=True, slots=True)
class Credentials:
    """The secrets of one platform, made once and kept."""

    admin: Secret
    superuser: Secret
    airflow: Secret
    fernet_key: Secret
    jwt_secret: Secret
    secret_key: Secret
    databases: dict[str, Secret]
    results: ResultLogins | None = None


@dataclass(frozen=True, slots=True)
class BrokerPorts:
    """Where a node listens: its clients, Erlang's name server, and other nodes; all on the loopback."""

    amqp: int
    names: int
    nodes: int


@dataclass(frozen=True, slots=True)
class BrokerNode:
    """One node that shares nothing with any other on this machine."""

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
class Site:
    """Where one machine keeps the platform, which ports it uses there, and where it finds what others run."""

    project: Path
    state: Path
    python: Path
    postgres_bin: Path
    instance: str
    api_port: int
    execution_port: int
    database_port: int
    broker: BrokerNode | None = None
    listen: str = LOOPBACK
    database_hosts: tuple[str, ...] = (LOOPBACK,)
    public_url: str = ""

    @property
    def api_url(self) -> str:
        return f"http://{self.listen}:{self.api_port}"

    @property
    def execution_url(self) -> str:
        return f"http://{self.listen}:{self.execution_port}"

    @property
    def base_url(self) -> str:
        """Where people find the UI; a fleet has a balancer there."""
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

    def dsn(self, database: str, user: str, password: Secret, *, driver: str = "") -> Secret:
        """The URL of a database, which leads to the primary wherever that is; passwords are URL-safe characters."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        login = f"{scheme}://{find_login(user, password)}:{password.reveal()}"
        # asyncpg has no words for these limits: airfleet_provider.network.keepalive sets them.
        limits = [] if driver == "asyncpg" else [f"{name}={value}" for name, value in DEAD_PEER.items()]
        if len(self.database_hosts) == 1:
            [host] = self.database_hosts
            query = f"?{'&'.join(limits)}" if limits and host != LOOPBACK else ""
            return Secret(f"{login}@{host}:{self.database_port}/{database}{query}")
        hosts = [f"host={host}:{self.database_port}" for host in self.database_hosts]
        words = "&".join([*hosts, "target_session_attrs=read-write", *limits])
        return Secret(f"{login}@/{database}?{words}")
