"""Hosts, roles and worker pools as the rest of airfleet sees them: frozen values that already passed every check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

Role = Literal["web", "scheduler", "worker", "database", "broker", "balancer", "monitor"]
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
    "monitor": "may read every host's metrics; what reads them there is your own",
}
DEFAULT_QUEUE = "default"
BROKER_SIZES = (1, 3)
MOST_CONCURRENCY = 512


@dataclass(frozen=True, slots=True)
class Ssh:
    """How the control machine reaches a host; what is missing is left to the SSH configuration."""

    user: str | None = None
    port: int | None = None
    key: str | None = None
    known_hosts: str | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """One machine: where it is, what it does, and which pools its workers serve."""

    name: str
    address: str
    roles: tuple[Role, ...]
    pools: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    ssh: Ssh = field(default_factory=Ssh)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one host lets one pool use; nothing is without limit."""

    memory: int | None = None
    cpus: float | None = None
    io_weight: int = 100
    tasks: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Workers that serve the same queues, `concurrency` tasks at once on each host."""

    name: str
    queues: tuple[str, ...]
    concurrency: int = 16
    limits: Limits = field(default_factory=Limits)
    drain_s: int = 3600


@dataclass(frozen=True, slots=True)
class Route:
    """Tasks that name no queue and fit these expressions go to this queue."""

    queue: str
    dag: str = ".*"
    task: str = ".*"
    operator: str = ".*"


@dataclass(frozen=True, slots=True)
class Tls:
    """The balancer's certificate, and the file of its key, relative to the project."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Retention:
    """Days that a host keeps what it wrote."""

    logs: int = 30


@dataclass(frozen=True, slots=True)
class Promoted:
    """Which database host was promoted last, and how many promotions there were; none yet is the file's first.

    `target` is the host of a promotion that was begun and is not known to have ended; it is the primary itself while
    only the wait for a scheduler is left.
    """

    primary: str = ""
    turn: int = 0
    target: str = ""


def most_processes(concurrency: int) -> int:
    """Processes and threads that a pool may have, unless fleet.yaml says: enough for tasks that count all cores."""
    return 1024 + 512 * concurrency


_ONE = WorkerPool(DEFAULT_QUEUE, (DEFAULT_QUEUE,))
DEFAULT_POOLS = (replace(_ONE, limits=Limits(tasks=most_processes(_ONE.concurrency))),)
