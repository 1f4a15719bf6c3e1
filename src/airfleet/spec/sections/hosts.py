"""The sections of fleet.yaml that describe a fleet of hosts: hosts, pools, routing, SSH, TLS and retention."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from airfleet.spec import topology
from airfleet.spec.addresses import is_ipv6
from airfleet.spec.sections import scaling
from airfleet.spec.sections.section import Pattern, Section, rule, shaped
from airfleet.spec.topology import MOST_CONCURRENCY, Role

_UNITS = {"M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"([1-9][0-9]*)([MG])")

Name = Annotated[
    str,
    *shaped("[a-z][a-z0-9_-]{0,39}", "a name: a lower-case letter, then letters, digits, - and _, 40 at most"),
]


def _write_ipv6(text: str) -> str:
    """Return an IPv6 address as the machines themselves write it; anything else as it is."""
    if not is_ipv6(text):
        return text
    try:
        found = ipaddress.IPv6Address(text)
    except ValueError:
        hint = "write it without a port and without brackets, as 10.0.0.11 or fd00::11"
        raise rule(f"expected an IP address or a host name, found {text!r}", hint) from None
    if found.is_link_local or found.is_loopback or found.is_multicast or found.is_unspecified or found.ipv4_mapped:
        raise rule(f"other hosts cannot reach {text}", "write a global address of the host, or one of fd00::/8")
    return str(found)


Address = Annotated[
    str,
    AfterValidator(_write_ipv6),
    *shaped("[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9:])?", "an IP address or a host name without spaces"),
]
Queue = Annotated[str, *shaped("[A-Za-z0-9_.-]{1,200}", "a queue name: letters, digits and _ . -")]
NetPort = Annotated[int, Field(ge=1, le=65535)]


def bytes_of(text: str) -> int:
    """Return the bytes of a size such as 512M or 4G; 1M is 2**20 bytes."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return int(found[1]) * _UNITS[found[2]]


def _size(text: str) -> str:
    if not _SIZE.fullmatch(text):
        raise rule(f"expected a size, found {text!r}", "write it as 512M or 4G")
    return text


Size = Annotated[str, AfterValidator(_size), WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]*[MG]$"})]


class SshSection(Section):
    """How the control machine logs in to the hosts. A key that is missing comes from the SSH configuration."""

    user: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="The user to log in as: root, or a user who may use sudo without a password.",
        examples=["ops"],
        json_schema_extra={"x-default": "as in the SSH configuration"},
    )
    port: NetPort | None = Field(
        default=None,
        description="The port of the SSH server.",
        examples=[22],
        json_schema_extra={"x-default": "as in the SSH configuration"},
    )
    key: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="The file with the private key, relative to the project.",
        examples=["~/.ssh/id_ed25519"],
        json_schema_extra={"x-default": "as in the SSH configuration, or an agent's"},
    )
    known_hosts: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="The file with the hosts' public keys, relative to the project. Other files only revoke keys.",
        examples=["ssh/known_hosts"],
        json_schema_extra={"x-default": "as in the SSH configuration"},
    )


class HostSection(Section):
    """One machine."""

    address: Address = Field(
        description="The address at which the control machine and the other hosts reach it.", examples=["10.0.0.11"]
    )
    roles: list[Role] | None = Field(
        default=None,
        description="What the host does. Of several hosts with `database`, Patroni makes one the primary.",
        examples=[["web", "balancer", "scheduler", "worker", "database", "broker"]],
        json_schema_extra={"x-default": "worker if it has pools; everything if it is the only host"},
    )
    pools: list[Name] | None = Field(
        default=None,
        description="The pools that its workers serve.",
        examples=[["default"]],
        json_schema_extra={"x-default": "all pools, on a host with the role worker"},
    )
    labels: dict[Name, str] = Field(
        default={},
        description="Your own labels of the host. Commands select hosts by them.",
        examples=[{"rack": "a"}],
    )
    user: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="The user to log in as.",
        examples=["ops"],
        json_schema_extra={"x-default": "ssh.user"},
    )
    port: NetPort | None = Field(
        default=None,
        description="The port of its SSH server.",
        examples=[22],
        json_schema_extra={"x-default": "ssh.port"},
    )


class WorkerPoolSection(Section):
    """Workers that serve the same queues, with the same limits on each host."""

    queues: list[Queue] | None = Field(
        default=None,
        description="The queues that the pool serves.",
        examples=[["default"]],
        json_schema_extra={"x-default": "one queue of the pool's name"},
    )
    concurrency: Annotated[int, Field(ge=1, le=MOST_CONCURRENCY)] = Field(
        default=16, description="Tasks that may run at once on each host of the pool."
    )
    memory: Size | None = Field(
        default=None,
        description="Memory that the pool may use on each host (systemd's MemoryMax).",
        examples=["4G"],
        json_schema_extra={"x-default": "without limit"},
    )
    cpus: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="CPUs that the pool may use on each host (systemd's CPUQuota).",
        examples=[2.0],
        json_schema_extra={"x-default": "without limit"},
    )
    io_weight: Annotated[int, Field(ge=1, le=10000)] = Field(
        default=100, description="Share of the disks relative to other pools of the host (systemd's IOWeight)."
    )
    tasks_max: Annotated[int, Field(ge=64)] | None = Field(
        default=None,
        description="Processes and threads that the pool may have on each host (systemd's TasksMax).",
        examples=[4096],
        json_schema_extra={"x-default": "1024, and 512 more for each of `concurrency`"},
    )
    drain: Annotated[int, Field(ge=0, le=7 * 86400)] = Field(
        default=3600, description="Seconds that running tasks have to finish when a worker stops."
    )
    scale: scaling.ScaleSection | None = Field(
        default=None,
        description="Let the pool have as many slots as its tasks need. An empty map has all defaults.",
        examples=[{"min": 2}],
        json_schema_extra={"x-default": "the pool always has all its slots"},
    )


class RouteSection(Section):
    """A task that names no queue goes to this queue if it fits all of these expressions."""

    queue: Queue = Field(description="The queue.", examples=["io"])
    dag: Pattern = Field(default=".*", description="The regular expression that a whole Dag id must match.")
    task: Pattern = Field(default=".*", description="The regular expression that a whole task id must match.")
    operator: Pattern = Field(default=".*", description="The regular expression for the name of the operator's class.")


class TlsSection(Section):
    """The balancer's certificate. With it, the balancer serves UI and API over HTTPS only."""

    certificate: Annotated[str, Field(min_length=1)] = Field(
        description="The file with the certificate and its chain, relative to the project.", examples=["tls/fleet.pem"]
    )
    key: Annotated[str, Field(min_length=1)] = Field(
        description="The file with the private key, relative to the project. Only its owner may read it.",
        examples=["tls/fleet.key"],
    )


class RetentionSection(Section):
    """How long hosts keep their files."""

    logs: Annotated[int, Field(ge=1)] = Field(default=30, description="Days that task logs are kept.")


def convert_host(
    name: str,
    written: HostSection,
    ssh: topology.Ssh,
    roles: tuple[topology.Role, ...],
    *,
    pools: tuple[str, ...],
) -> topology.Host:
    """Return the host with its defaults. `roles` are those of a host that names none."""
    if written.roles is not None:
        roles = tuple(dict.fromkeys(written.roles))
    served = tuple(dict.fromkeys(pools if written.pools is None else written.pools))
    return topology.Host(
        name=name,
        address=written.address,
        roles=roles,
        pools=served if "worker" in roles else (),
        labels=written.labels,
        ssh=topology.Ssh(written.user or ssh.user, written.port or ssh.port, ssh.key, ssh.known_hosts),
    )


def convert_pool(name: str, written: WorkerPoolSection) -> topology.WorkerPool:
    """Return the pool with its defaults filled in."""
    return topology.WorkerPool(
        name=name,
        queues=(name,) if written.queues is None else tuple(dict.fromkeys(written.queues)),
        concurrency=written.concurrency,
        limits=topology.Limits(
            memory=bytes_of(written.memory) if written.memory else None,
            cpus=written.cpus,
            io_weight=written.io_weight,
            tasks=written.tasks_max or topology.most_processes(written.concurrency),
        ),
        drain_s=written.drain,
        scale=None if written.scale is None else scaling.convert(written.scale),
    )
