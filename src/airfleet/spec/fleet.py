"""The fleet that fleet.yaml describes, as frozen values. Every value has passed the checks of `load.parse`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from airfleet.spec.access import FleetAccess
from airfleet.spec.addresses import join_port
from airfleet.spec.machines import Machines
from airfleet.spec.notifications import Notifications
from airfleet.spec.openlineage import OpenLineage
from airfleet.spec.secret_ref import SecretRef
from airfleet.spec.topology import DEFAULT_POOLS, VOTERS, Host, Promoted, Retention, Role, Route, Ssh, Tls, WorkerPool
from airfleet.spec.tracing import Tracing
from airfleet.spec.vpn import Vpn
from airfleet_provider.contract import archive_store, release_policy
from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.jitter_rules import JitterRule
from airfleet_provider.contract.release_policy import WatchPolicy
from airfleet_provider.contract.retry_rules import RetryRule
from airfleet_provider.contract.service_limits import ServiceLimit
from airfleet_provider.contract.sla_rules import SlaRule
from airfleet_provider.contract.task_limits import LimitRule

MOST_PARALLELISM = 512
MOST_SCHEDULERS = 2
# The fewest bits of the address of a network whose machines may read for reports.
WIDEST_READERS, WIDEST_READERS_IPV6 = 8, 32

# airfleet's own databases and database roles, and names that have a meaning in PostgreSQL, pg_hba.conf or PgBouncer.
RESERVED_DATABASES = frozenset(
    {
        *("airflow", "airflow_calls", "airflow_session", "celery", "monitor", "pgbouncer", "replicator", "rewinder"),
        *(
            "airfleet_results",
            "airfleet_results_writer",
            "airfleet_results_reader",
            "airfleet_looker",
            "airfleet_reporting",
        ),
        *("postgres", "template0", "template1"),
        *("all", "replication", "samegroup", "samerole", "sameuser"),
        *("current_role", "current_user", "none", "public", "session_user", "user"),
    }
)

# The Airflow options that airfleet sets itself. The value is the hint that tells the user what to do instead.
OWNED_INSTEAD: Mapping[tuple[str, str], str] = {
    ("core", "executor"): "use `executor`",
    ("core", "parallelism"): "use `parallelism`",
    ("core", "dags_folder"): "leave it out: Dags are read from the project's dags folder",
    ("core", "auth_manager"): "leave it out: airfleet sets up who may log in",
    ("core", "fernet_key"): "leave it out: airfleet makes the key once and keeps it",
    ("core", "execution_api_server_url"): "use `ports.api`: airfleet derives the address from it",
    (
        "database",
        "sql_alchemy_conn",
    ): "use `database` for a PostgreSQL of your own; otherwise leave it out: airfleet runs the metadata database",
    ("api", "secret_key"): "leave it out: airfleet makes the key once and keeps it",
    ("api", "port"): "use `ports.api`",
    ("api", "host"): "leave it out: airfleet chooses the address to listen on; its port is `ports.api`",
    ("api", "base_url"): "use `ports.api`: airfleet derives the address from it",
    **dict.fromkeys(
        (("api_auth", key) for key in ("jwt_secret", "jwt_private_key_path", "trusted_jwks_url", "jwt_kid")),
        "leave it out: airfleet makes the keys once and keeps them",
    ),
    ("api_auth", "jwt_algorithm"): "leave it out: the algorithm follows from the key",
    ("celery", "broker_url"): "leave it out: airfleet runs the broker",
    ("celery", "result_backend"): "leave it out: airfleet keeps results in a database of their own",
    ("celery", "celery_config_options"): "use `extra_celery_config`: airfleet's own come on top of it",
    ("celery", "worker_enable_remote_control"): "leave it out: `airfleet workers` needs none, and it lets tasks in",
    ("celery", "worker_autoscale"): "leave it out: a worker keeps a process for each of its slots",
    ("celery", "worker_concurrency"): "use `pools`: each has its `concurrency`",
    ("logging", "base_log_folder"): "leave it out: logs are kept in the state folder",
    ("dag_processor", "dag_bundle_config_list"): "leave it out: airfleet serves the Dags of the project as a bundle",
}
OWNED = frozenset(OWNED_INSTEAD)

Level = Literal["off", "warning", "error"]

# The checks that a release must pass, with the level of each if fleet.yaml does not set one.
CHECK_LEVELS: Mapping[str, Level] = {
    "missing-connection": "error",
    "missing-variable": "error",
    "missing-slot-pool": "error",
    "missing-queue": "error",
    "unstable-dag": "error",
    "import-time-access": "error",
    "slow-import": "error",
    "airflow-2-code": "error",
    "project-tests": "error",
    "owner": "warning",
    "tags": "off",
    "description": "warning",
    "retries": "warning",
    "execution-timeout": "off",
    "naming": "off",
    "catchup": "warning",
    "schedule": "warning",
    "unmatched-sla": "warning",
}
# fleet.yaml cannot change the level of these checks: Airflow itself refuses what they find.
FIXED_CHECKS = frozenset({"import-error", "cycle", "duplicate-dag-id", "unknown-ignore"})


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that the platform listens on. On one machine, airfleet chooses a free port for each that is None."""

    api: int = 8080
    database: int | None = None
    metrics: int | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """An Airflow connection: either `uri` alone, or `type` and the other fields."""

    type: str | None = None
    host: str | None = None
    login: str | None = None
    password: SecretRef | None = None
    schema: str | None = None
    port: int | None = None
    extra: Mapping[str, object | SecretRef] = field(default_factory=dict)
    uri: str | SecretRef | None = None


@dataclass(frozen=True, slots=True)
class SlotPool:
    """A slot pool: Airflow's limit on concurrent tasks. -1 slots mean no limit."""

    slots: int
    description: str = ""
    include_deferred: bool = False


@dataclass(frozen=True, slots=True)
class Checks:
    """The level of each check of a release, and the limits that the checks compare with."""

    levels: Mapping[str, Level] = field(default_factory=lambda: CHECK_LEVELS)
    parse_seconds: float = 2.0
    catchup_runs: int = 100
    dag_id_pattern: str = "[a-z][a-z0-9_]*"


@dataclass(frozen=True, slots=True)
class Releases:
    """Where releases are stored, how many are kept, and when a live release is rolled back automatically.

    `store` is the URL of a folder or an object store, or `archive_store.DATABASE` for the metadata database.
    """

    store: str = archive_store.DATABASE
    keep: int = release_policy.KEEP
    watch_seconds: float = WatchPolicy().watch_seconds
    max_failure_rate: float = WatchPolicy().max_failure_rate
    min_task_ends: int = WatchPolicy().min_task_ends


@dataclass(frozen=True, slots=True)
class Backups:
    """How many backups of the databases are kept. Only a fleet of hosts uses `every_hours` and `folder`."""

    keep: int = 7
    every_hours: int = 24
    folder: str = "/var/lib/airfleet/backups"


@dataclass(frozen=True, slots=True)
class Archive:
    """How many days finished runs stay in the metadata database, where they go then, and how fast."""

    retention: int = 90
    store: str | None = None
    # None: only a command archives.
    every_hours: int | None = None
    # Seconds.
    budget: int = 3600
    pause: float = 1.0


@dataclass(frozen=True, slots=True)
class Monitoring:
    """How many days and how much of metrics the monitor hosts keep, and who may read them from outside the fleet.

    `size` is as in fleet.yaml, such as 10G; 1G is 2**30 bytes.
    """

    retention: int = 30
    size: str = "10G"
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenSearch:
    """An OpenSearch that keeps the lines of a fleet: a reference to its URL, and how names of its indexes begin."""

    url: SecretRef
    prefix: str


@dataclass(frozen=True, slots=True)
class Logs:
    """What is hidden in lines of logs before they are kept, as regular expressions, and what keeps the lines."""

    redact: tuple[str, ...] = ()
    opensearch: OpenSearch | None = None


@dataclass(frozen=True, slots=True)
class Reporting:
    """The login that reads Airflow's database for reports: its password, who may use it, and its limits."""

    password: SecretRef
    readers: tuple[str, ...]
    connections: int = 5
    seconds: int = 60


@dataclass(frozen=True, slots=True)
class BrokerSource:
    """A RabbitMQ that somebody else runs: references to its URL and to that of its management API.

    `authorities` is a file with certificates, relative to the project.
    """

    url: SecretRef
    management: SecretRef | None = None
    authorities: str | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything that fleet.yaml says, with every default filled in. `promoted` comes from the state folder."""

    name: str
    ports: Ports
    parallelism: int
    env: Mapping[str, str | SecretRef]
    airflow: Mapping[str, Mapping[str, str]]
    databases: tuple[str, ...]
    connections: Mapping[str, Connection]
    variables: Mapping[str, object | SecretRef]
    slot_pools: Mapping[str, SlotPool]
    checks: Checks = field(default_factory=Checks)
    dags: Literal["folder", "releases"] = "folder"
    executor: Literal["local", "celery"] = "local"
    schedulers: int = 1
    scheduler_mode: Literal["active-standby", "active-active"] = "active-standby"
    releases: Releases = field(default_factory=Releases)
    backups: Backups = field(default_factory=Backups)
    archive: Archive = field(default_factory=Archive)
    notifications: Notifications = field(default_factory=Notifications)
    slas: tuple[SlaRule, ...] = ()
    breakers: tuple[BreakerRule, ...] = ()
    # Starts a minute, and tasks at once, of services that tasks call.
    limits: tuple[ServiceLimit, ...] = ()
    retries: tuple[RetryRule, ...] = ()
    task_limits: tuple[LimitRule, ...] = ()
    # Crons whose runs begin later.
    jitter: tuple[JitterRule, ...] = ()
    monitoring: Monitoring = field(default_factory=Monitoring)
    logs: Logs = field(default_factory=Logs)
    # The collector of traces.
    tracing: Tracing | None = None
    user_spans: bool = False
    openlineage: OpenLineage | None = None
    machines: Machines | None = None
    hosts: tuple[Host, ...] = ()
    pools: tuple[WorkerPool, ...] = DEFAULT_POOLS
    routing: tuple[Route, ...] = ()
    ssh: Ssh = field(default_factory=Ssh)
    tls: Tls | None = None
    retention: Retention = field(default_factory=Retention)
    firewall: bool = True
    requirements: str | None = None
    replication: Literal["asynchronous", "synchronous"] = "asynchronous"
    promoted: Promoted = field(default_factory=Promoted)
    # The URL of a PostgreSQL that somebody else runs.
    database: SecretRef | None = None
    broker: BrokerSource | None = None
    # The IPv4 address that the balancer hosts share.
    balancer: str | None = None
    reporting: Reporting | None = None
    # Who reaches SSH and the UI besides the tunnel of `vpn`. None: everybody.
    allow_from: tuple[str, ...] | None = None
    vpn: Vpn | None = None
    # None: airfleet changes no user but its own administrator.
    access: FleetAccess | None = None

    @property
    def primary(self) -> Host:
        """Return the database host that accepts writes: the host that was promoted last, or the first in the file.

        Where somebody else runs PostgreSQL, the first scheduler host stands in for it: airfleet reaches the database
        from there.
        """
        own = self.keepers
        return next((host for host in own if host.name == self.promoted.primary), own[0])

    @property
    def airflow_environment(self) -> dict[str, str]:
        """Return the section `airflow` as the variables by which Airflow reads settings from its environment."""
        return {
            f"AIRFLOW__{section.upper()}__{key.upper()}": value
            for section, values in self.airflow.items()
            for key, value in values.items()
        }

    @property
    def keepers(self) -> tuple[Host, ...]:
        """Return the hosts that keep the lease of apply: those of the database, or the schedulers if it is outside."""
        return self.with_role("database") or self.with_role("scheduler")

    @property
    def public_url(self) -> str:
        """Return the URL of the UI of a fleet with hosts."""
        return f"{'https' if self.tls else 'http'}://{join_port(self.public_address, self.ports.api)}"

    @property
    def public_address(self) -> str:
        """Return the address in the URL of the UI, to which Airflow leads browsers after a login."""
        hosts = self.with_role("balancer") or self.with_role("web")
        return self.balancer or hosts[0].address

    def with_role(self, role: Role) -> tuple[Host, ...]:
        """Return the hosts that have a role, in the order of fleet.yaml."""
        return tuple(host for host in self.hosts if role in host.roles)

    @property
    def voters(self) -> tuple[Host, ...]:
        """The hosts whose etcd says which database host is the primary: three, and none where there is one.

        Database hosts come first. A host that only runs tasks never votes, as a task may be hostile.
        """
        if len(self.with_role("database")) < 2:
            return ()
        able = [host for host in self.hosts if "database" in host.roles or "worker" not in host.roles]
        return tuple(sorted(able, key=_rank_voter)[:VOTERS])

    def pool(self, name: str) -> WorkerPool:
        """Return the worker pool of this name; the name must be one of `pools`."""
        return next(pool for pool in self.pools if pool.name == name)

    @property
    def queues(self) -> tuple[str, ...]:
        """Return the queues that at least one pool serves, each once."""
        return tuple(dict.fromkeys(queue for pool in self.pools for queue in pool.queues))


def _rank_voter(host: Host) -> int:
    """Database hosts without a worker first, then others without one; last a worker that keeps the data anyway."""
    return 2 if "worker" in host.roles else 0 if "database" in host.roles else 1
