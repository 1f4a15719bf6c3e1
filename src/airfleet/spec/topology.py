"""Hosts, roles and worker pools, as frozen values. Every value has passed the checks of `load.parse`."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from airfleet_provider.contract.slot_rules import Hours

Role = Literal["web", "scheduler", "worker", "database", "broker", "balancer", "monitor", "logs"]
ROLES: tuple[Role, ...] = get_args(Role)
# A fleet without one of these runs nothing.
NEEDED_ROLES: tuple[Role, ...] = ("web", "scheduler", "worker", "database", "broker")
# What a role does, as the errors and the manual say it.
ROLE_WORDS: Mapping[Role, str] = {
    "web": "serves the UI, the API and the API that tasks report to",
    "scheduler": "runs the scheduler, the Dag processor and the triggerer",
    "worker": "runs tasks",
    "database": "runs PostgreSQL",
    "broker": "runs RabbitMQ",
    "balancer": "spreads the traffic over the web hosts",
    "monitor": "runs Prometheus and Alertmanager, which read every host's metrics",
    "logs": "keeps the lines of every host's logs and searches them",
}
# The roles whose servers somebody else may run, and the section of fleet.yaml that names such a server.
OWN_SECTIONS: Mapping[Role, str] = {"database": "database", "broker": "broker"}
DEFAULT_QUEUE = "default"
BROKER_SIZES = (1, 3)
# Each host sends its lines to each of the hosts that keep them.
MOST_LOG_STORES = 2
# So many hosts agree on which of several database hosts is the primary. One of them may be lost.
VOTERS = 3
MOST_CONCURRENCY = 512


@dataclass(frozen=True, slots=True)
class Ssh:
    """How the control machine logs in to a host. A field that is None comes from the SSH configuration."""

    user: str | None = None
    port: int | None = None
    key: str | None = None
    known_hosts: str | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """One machine: its address, its roles, and the pools that its workers serve."""

    name: str
    address: str
    roles: tuple[Role, ...]
    pools: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    ssh: Ssh = field(default_factory=Ssh)


@dataclass(frozen=True, slots=True)
class Limits:
    """The resources that one pool may use on one host. None means no limit. `memory` is in bytes."""

    memory: int | None = None
    cpus: float | None = None
    io_weight: int = 100
    cpu_weight: int = 100
    tasks: int | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """How a pool scales its slots: by the tasks that need one, between limits that count the whole pool (ADR 51)."""

    least: int = 1
    most: int | None = None
    calm_s: float = 60.0
    zone: str = "UTC"
    hours: tuple[Hours, ...] = ()
    pack: bool = True
    ahead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Workers that serve the same queues. On each host, the pool runs `concurrency` tasks at once.

    When a worker stops, it gives its running tasks `drain_s` seconds to finish.
    """

    name: str
    queues: tuple[str, ...]
    concurrency: int = 16
    limits: Limits = field(default_factory=Limits)
    drain_s: int = 3600
    # Without it, the pool always has all its slots.
    scale: Scale | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A rule of routing: a task that names no queue goes to `queue` if it fits all three regular expressions."""

    queue: str
    dag: str = ".*"
    task: str = ".*"
    operator: str = ".*"


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of the balancer's certificate and of its private key, relative to the project."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Retention:
    """The number of days that a host keeps its files."""

    logs: int = 30


@dataclass(frozen=True, slots=True)
class Promoted:
    """Which database host was the primary when somebody last looked; none yet is the file's first.

    `is_led` where Patroni said so. `target` is the host of a promotion that an earlier version began and did not end.
    """

    primary: str = ""
    target: str = ""
    is_led: bool = False


def list_roles(sections: Container[str]) -> tuple[Role, ...]:
    """Return every role but those whose servers somebody else runs, by the `sections` that fleet.yaml has."""
    return tuple(role for role in ROLES if OWN_SECTIONS.get(role) not in sections)


def most_processes(concurrency: int) -> int:
    """Return the default limit of a pool's processes and threads: enough for tasks that start a thread per core."""
    return 1024 + 512 * concurrency


_ONE = WorkerPool(DEFAULT_QUEUE, (DEFAULT_QUEUE,))
DEFAULT_POOLS = (replace(_ONE, limits=Limits(tasks=most_processes(_ONE.concurrency))),)
