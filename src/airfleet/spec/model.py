"""The keys of fleet.yaml, their types, and the texts that explain them.

The JSON Schema and the YAML reference (`reference.py`) are generated from the descriptions and examples of this module.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Tag,
    WithJsonSchema,
)

from airfleet.spec import fleet
from airfleet.spec.sections.access import AccessSection
from airfleet.spec.sections.archive import ArchiveSection
from airfleet.spec.sections.backups import BackupsSection
from airfleet.spec.sections.balancer import BalancerSection
from airfleet.spec.sections.breakers import BreakerSection
from airfleet.spec.sections.checks import ChecksSection
from airfleet.spec.sections.hosts import (
    HostSection,
    Name,
    RetentionSection,
    RouteSection,
    SshSection,
    TlsSection,
    WorkerPoolSection,
)
from airfleet.spec.sections.jitter import JitterSection
from airfleet.spec.sections.limits import TaskLimitSection
from airfleet.spec.sections.logs import LogsSection
from airfleet.spec.sections.machines import MachinesSection
from airfleet.spec.sections.monitoring import MonitoringSection
from airfleet.spec.sections.networks import Network
from airfleet.spec.sections.notifications import NotificationsSection
from airfleet.spec.sections.openlineage import OpenLineageSection
from airfleet.spec.sections.own_database import BrokerSection, DatabaseSection
from airfleet.spec.sections.references import (
    BY_REFERENCE,
    REFERENCE,
    SOURCES,
    TEXT,
    VALUE,
    Reference,
    TextOrReference,
    by_tag,
)
from airfleet.spec.sections.releases import ReleasesSection
from airfleet.spec.sections.reporting import ReportingSection
from airfleet.spec.sections.retries import RetrySection
from airfleet.spec.sections.section import Section, is_secret_key, rule, shaped
from airfleet.spec.sections.service_limits import ServiceLimitSection
from airfleet.spec.sections.slas import SlaSection
from airfleet.spec.sections.slot_pools import SlotPoolSection
from airfleet.spec.sections.tracing import TracingSection
from airfleet.spec.sections.vpn import VpnSection


def _env_key(key: str) -> str:
    if key.startswith("AIRFLOW__"):
        section, _, option = key.removeprefix("AIRFLOW__").lower().partition("__")
        hint = fleet.OWNED_INSTEAD.get((section, option), f"set it as airflow: {{{section}: {{{option}: ...}}}}")
        raise rule(f"{key} is an Airflow option", hint)
    if key.startswith("AIRFLEET_"):
        raise rule(f"{key}: names that start with AIRFLEET_ are airfleet's own", "choose another name")
    return key


def _database(name: str) -> str:
    if name in fleet.RESERVED_DATABASES or name.startswith("pg_"):
        raise rule(f"the database {name!r} is not yours to create", "choose another name")
    return name


def _airflow_value(value: object) -> object:
    return str(value) if isinstance(value, bool | int | float) else value


def _some_value(value: object) -> object:
    if value is None:
        raise rule("expected a value, found nothing", 'write "" for an empty text')
    return value


def _password(value: object) -> object:
    if value is None or isinstance(value, dict):
        return value
    raise rule("fleet.yaml never holds a password", BY_REFERENCE)


def _literal_uri(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        _ = parts.port  # if the password contains a slash, the text before the slash is read as the port
    except ValueError:
        raise rule("not a URI", "percent-encode what is not a letter or a digit, such as / and @") from None
    if not parts.scheme:
        raise rule("not a URI", "write type://login@host:port/schema")
    if parts.password or any(is_secret_key(key) for key, _ in parse_qsl(parts.query)):
        raise rule("fleet.yaml never holds a password, and this URI carries one", BY_REFERENCE)
    return uri


def _is_reference(value: dict[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)) in SOURCES


Database = Annotated[
    str,
    *shaped("[a-z_][a-z0-9_]{0,62}", "a database name: lower-case letters, digits and _, 63 at most, no digit first"),
    AfterValidator(_database),
]
EnvKey = Annotated[
    str,
    *shaped("[A-Za-z_][A-Za-z0-9_]*", "a variable name: letters, digits and _, no digit first"),
    AfterValidator(_env_key),
]
Option = Annotated[str, *shaped(r"[A-Za-z0-9_.:-]+", "an Airflow name: letters, digits and _ . : -")]
VariableKey = Annotated[str, *shaped(r"[A-Za-z0-9_.:/-]{1,250}", "a key: letters, digits and _ . : / -")]
AirflowValue = Annotated[
    str, BeforeValidator(_airflow_value), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
FleetPort = Annotated[int, Field(ge=1024, le=65535)]
Value = Annotated[
    Annotated[Any, AfterValidator(_some_value), Tag(VALUE)] | Annotated[Reference, Tag(REFERENCE)],
    by_tag(REFERENCE, VALUE, _is_reference),
]


class PortsSection(Section):
    """The ports the fleet listens on."""

    api: FleetPort = Field(default=8080, description="Airflow's pages and API.")
    database: FleetPort | None = Field(
        default=None,
        description="PostgreSQL.",
        examples=[15432],
        json_schema_extra={"x-default": "any free port"},
    )
    metrics: FleetPort | None = Field(
        default=None,
        description="Where the agents serve Prometheus metrics at /metrics, and their health.",
        examples=[9108],
        json_schema_extra={"x-default": "any free port; on hosts, 9108"},
    )


class ConnectionSection(Section):
    """An Airflow connection: either `uri` alone, or `type` and the other keys that the type needs."""

    type: Name | None = Field(default=None, description="Airflow's connection type.", examples=["postgres"])
    host: str | None = Field(default=None, description="The host name or address.", examples=["crm.example.com"])
    login: str | None = Field(default=None, description="The user name.", examples=["reader"])
    password: Annotated[Reference | None, BeforeValidator(_password)] = Field(
        default=None,
        description="A reference to the password. fleet.yaml never holds the password itself.",
        examples=[{"env": "CRM_PASSWORD"}],
    )
    schema_: str | None = Field(
        default=None, alias="schema", description="The database or schema to use.", examples=["sales"]
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None, description="The port.", examples=[5432], json_schema_extra={"x-default": "the type's own"}
    )
    extra: dict[str, Value] = Field(
        default={},
        description="More options of this type. Write secrets as references.",
        examples=[{"sslmode": "require"}],
    )
    uri: (
        Annotated[
            Annotated[str, AfterValidator(_literal_uri), Tag(TEXT)] | Annotated[Reference, Tag(REFERENCE)],
            by_tag(REFERENCE, TEXT, lambda _: True),
        ]
        | None
    ) = Field(
        default=None,
        description="The whole connection as one URI, without any other key. Use a reference if it has a password.",
        examples=[{"env": "CRM_URI"}],
    )


class FleetFile(Section):
    """fleet.yaml describes one fleet. airfleet ignores keys that start with `x-`: use them as you like."""

    name: Name | None = Field(
        default=None,
        description="The fleet's name.",
        examples=["flights"],
        json_schema_extra={"x-default": "the name of the project folder"},
    )
    ports: PortsSection = Field(default=PortsSection(), description="The ports the fleet listens on.")
    parallelism: Annotated[int, Field(ge=1, le=fleet.MOST_PARALLELISM)] | None = Field(
        default=None,
        description="Tasks that may run at once.",
        examples=[16],
        json_schema_extra={"x-default": "twice the number of CPUs, 4 at least; on hosts, 512"},
    )
    schedulers: Annotated[int, Field(ge=1, le=fleet.MOST_SCHEDULERS)] = Field(
        default=1,
        description="Scheduler processes. If the active scheduler fails, a second one becomes active within seconds.",
    )
    scheduler_mode: Literal["active-standby", "active-active"] = Field(
        default="active-standby",
        description="Whether one scheduler is active and the others stand by, or all of them are active.",
    )
    replication: Literal["asynchronous", "synchronous"] = Field(
        default="asynchronous",
        description="Whether a commit waits until a replica has it too. It matters with two database hosts or more.",
    )
    dags: Literal["folder", "releases"] | None = Field(
        default=None,
        description="Where Dags come from: the project's folder as it is, or the releases that were built from it.",
        examples=["releases"],
        json_schema_extra={"x-default": "folder; on hosts, releases"},
    )
    executor: Literal["local", "celery"] = Field(
        default="local",
        description="What runs tasks on this machine: the scheduler, or a Celery worker with RabbitMQ, as on hosts.",
    )
    releases: ReleasesSection = Field(
        default=ReleasesSection(), description="How releases are kept and watched, with `dags: releases`."
    )
    backups: BackupsSection = Field(
        default=BackupsSection(), description="Backups of the databases, and of every change since the oldest backup."
    )
    archive: ArchiveSection = Field(
        default=ArchiveSection(), description="Which finished runs leave the metadata database, and where they go."
    )
    monitoring: MonitoringSection = Field(
        default=MonitoringSection(), description="What the monitor hosts keep of metrics, and who else may read it."
    )
    logs: LogsSection = Field(default=LogsSection(), description="The index of logs that `airfleet logs search` reads.")
    tracing: TracingSection | None = Field(
        default=None,
        description="The collector that gets a trace of each Dag run when it has ended.",
        examples=[{"endpoint": "https://collector.example.com:4318"}],
        json_schema_extra={"x-default": "traces go nowhere; `airfleet trace` shows them"},
    )
    user_spans: bool = Field(
        default=False,
        description="Keep the spans that code of tasks writes with `trace`, for `airfleet trace` and collectors.",
    )
    openlineage: OpenLineageSection | None = Field(
        default=None,
        description="Tasks write events of OpenLineage: tables and columns that they read and write. `{}` turns it on.",
        examples=[{"backends": {"marquez": {"kind": "marquez", "url": "https://marquez.example.com:5000"}}}],
        json_schema_extra={"x-default": "no event is written"},
    )
    notifications: NotificationsSection = Field(
        default=NotificationsSection(), description="Who is notified of alerts, when, and how."
    )
    env: dict[EnvKey, TextOrReference] = Field(
        default={},
        description="Environment variables of every Airflow process, as text or references. Not for Airflow's options.",
        examples=[{"TZ": "Europe/Berlin", "CRM_TOKEN": {"file": "secrets/crm-token"}}],
    )
    airflow: dict[Option, dict[Option, AirflowValue]] = Field(
        default={},
        description="Airflow options by section, as in airflow.cfg, except those that airfleet sets itself.",
        examples=[{"core": {"max_active_tasks_per_dag": 32}}],
    )
    database: DatabaseSection | None = Field(
        default=None,
        description="A PostgreSQL of your own for the metadata database. No host then has the role `database`.",
        examples=[{"url": {"env": "AIRFLEET_DATABASE"}}],
        json_schema_extra={"x-default": "airfleet runs one itself"},
    )
    broker: BrokerSection | None = Field(
        default=None,
        description="A RabbitMQ of your own. No host then has the role `broker`; one machine needs `executor: celery`.",
        examples=[{"url": {"env": "AIRFLEET_BROKER"}}],
        json_schema_extra={"x-default": "airfleet runs one itself"},
    )
    reporting: ReportingSection | None = Field(
        default=None,
        description="A login that only reads what Airflow has done, for reports and BI tools. For hosts.",
        examples=[{"password": {"env": "REPORTING_PASSWORD"}, "readers": ["10.0.9.5"]}],
    )
    databases: list[Database] = Field(
        default=[],
        description="More PostgreSQL databases for your Dags. Each gets an Airflow connection of the same name.",
        examples=[["warehouse"]],
    )
    connections: dict[Name, ConnectionSection] = Field(
        default={}, description="Airflow connections.", examples=[{"crm": {}}]
    )
    variables: dict[VariableKey, Value] = Field(
        default={},
        description="Airflow variables: any value. A map whose only key is env, file or command is a reference.",
        examples=[{"report_days": 7, "crm_key": {"env": "CRM_KEY"}}],
    )
    slot_pools: dict[Name, SlotPoolSection] = Field(
        default={}, description="Airflow pools of task slots.", examples=[{"crm": {}}]
    )
    checks: ChecksSection = Field(
        default=ChecksSection(), description="The checks that a release must pass. Each is off, a warning or an error."
    )
    access: AccessSection | None = Field(
        default=None,
        description="Users, and the Dags that each of them may read and edit.",
        examples=[{"users": {"ann": {"email": "ann@example.com", "roles": ["Viewer"]}}}],
        json_schema_extra={"x-default": "airfleet makes the user `admin` and changes no other"},
    )
    slas: dict[Name, SlaSection] = Field(
        default={},
        description="Promises about when Dags, tasks and assets are ready, by name.",
        examples=[{"sales-by-six": {}}],
    )
    breakers: dict[Name, BreakerSection] = Field(
        default={},
        description="Services that tasks need, by name. While one is away, the tasks that need it wait.",
        examples=[{"warehouse": {}}],
    )
    limits: dict[Name, ServiceLimitSection] = Field(
        default={},
        description="Services that bear only so many calls, by name. Tasks beyond a limit wait for their turn.",
        examples=[{"crm": {"starts_per_minute": 30}}],
    )
    retries: dict[Name, RetrySection] = Field(
        default={},
        description="What becomes of tasks that fail, by the class of the error: the first rule that fits decides.",
        examples=[{"typos": {}}],
    )
    task_limits: dict[Name, TaskLimitSection] = Field(
        default={},
        description="What one task may use of its host: the first entry that fits decides.",
        examples=[{"small": {"memory": "1G"}}],
    )
    jitter: dict[Name, JitterSection] = Field(
        default={},
        description="Dags whose crons begin a little later, each at its own moment, so that full hours are calmer.",
        examples=[{"hourly": {"dag": "hourly_.*", "within": "10m"}}],
    )
    machines: MachinesSection | None = Field(
        default=None,
        description="Machines that `airfleet machines` makes.",
        examples=[{"command": ["machines/driver"]}],
    )
    hosts: dict[Name, HostSection] = Field(
        default={},
        description="The machines of the fleet by name. Without hosts, the platform runs on this machine.",
        examples=[{"web1": {}}],
    )
    pools: dict[Name, WorkerPoolSection] = Field(
        default={},
        description="Pools of workers. Without pools, there is one pool `default` that serves the queue `default`.",
        examples=[{"default": {}}],
    )
    routing: list[RouteSection] = Field(
        default=[],
        description=(
            "The queues of tasks that name no queue. The first rule whose `dag`, `task` and `operator` fit the task"
            ' wins. A task may also name a pool: executor_config={"airfleet": {"pool": "memory"}}.'
        ),
        examples=[[{"operator": "BashOperator", "queue": "default"}]],
    )
    ssh: SshSection = Field(
        default=SshSection(), description="How to log in to the hosts. A host's own `user` and `port` win."
    )
    balancer: BalancerSection | None = Field(
        default=None,
        description="One address that several balancer hosts share.",
        examples=[{"address": "10.0.0.9"}],
        json_schema_extra={"x-default": "each balancer host has its own address only"},
    )
    tls: TlsSection | None = Field(
        default=None,
        description="Serve UI and API over HTTPS, with this certificate.",
        examples=[{"certificate": "tls/fleet.pem", "key": "tls/fleet.key"}],
    )
    retention: RetentionSection = Field(default=RetentionSection(), description="How long hosts keep their files.")
    allow_from: list[Network] | None = Field(
        default=None,
        description="Who reaches SSH and the UI besides the tunnel of `vpn`: addresses and networks.",
        examples=[["10.0.0.5", "10.0.9.0/24"]],
        json_schema_extra={"x-default": "everybody"},
    )
    vpn: VpnSection | None = Field(
        default=None, description="A tunnel of WireGuard, by which administrators enter.", examples=[{"host": "web1"}]
    )
    firewall: bool = Field(
        default=True,
        description="Whether each host's firewall allows only SSH and the ports that its roles need, by sender.",
    )
    requirements: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="The file with the packages that the Dags need on every host, relative to the project.",
        examples=["requirements.txt"],
        json_schema_extra={"x-default": "requirements.txt, if the project has one"},
    )
