"""The parts of one host of a fleet, by its roles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from airfleet.components.etcd import server as etcd
from airfleet.components.host_model import Folder, Part, Place, Service, Stage
from airfleet.components.hosts import (
    agents,
    airflow,
    certificates,
    common,
    exporters,
    haproxy,
    keepalived,
    logs,
    metadata_jobs,
    monitor,
    vpn,
    workers,
)
from airfleet.components.postgresql import backups, patroni, pgbouncer
from airfleet.components.postgresql import server as postgresql
from airfleet.components.rabbitmq import server as rabbitmq


def describe(place: Place, *, ssh_ports: tuple[int, ...]) -> tuple[Part, ...]:
    """Return the parts of one host, with a firewall that opens the ports of all of them."""
    roles = set(place.host.roles)
    parts = [common.describe(place), certificates.describe(place), exporters.describe_machine(place)]
    if place.host in place.fleet.voters:
        settings = patroni.render_settings(place.fleet, postgresql.count_connections(place.fleet))
        parts.append(etcd.describe(place, settings))
    if "database" in roles:
        parts.append(postgresql.describe(place))
        parts.append(exporters.describe_postgresql(place))
        parts.append(pgbouncer.describe(place))
        parts.append(backups.describe(place))
    if "broker" in roles:
        parts.append(rabbitmq.describe(place))
    if "web" in roles:
        parts += [airflow.describe_web(place), haproxy.describe_tls(place)]
    if "scheduler" in roles:
        parts += [airflow.describe_scheduler(place), agents.describe(place), metadata_jobs.describe(place)]
    if "worker" in roles:
        parts += [haproxy.describe_proxy(place), workers.describe(place)]
    if roles & {"scheduler", "worker"}:
        parts.append(haproxy.describe_logs(place))
    if "balancer" in roles:
        parts.append(haproxy.describe_balancer(place))
        parts.append(keepalived.describe(place))
        parts.append(vpn.describe(place))
    if "monitor" in roles:
        parts += [monitor.describe_prometheus(place), monitor.describe_alertmanager(place)]
    if place.fleet.with_role("logs"):
        parts.append(logs.describe_agent(place))
    if "logs" in roles:
        parts.append(logs.describe_store(place))
    parts.append(haproxy.describe_metrics(place))
    ports = [port for part in parts for port in part.ports]
    parts = [_let_drain_first(part, parts) for part in parts]
    folders = [folder for part in parts for folder in part.folders]
    parts = [_let_write(part, folders) for part in parts]
    return (*parts, common.describe_firewall(place, ports, ssh_ports))


def _let_write(part: Part, folders: Iterable[Folder]) -> Part:
    """Let each service of a part write to those of the folders that belong to its user."""
    listed = tuple(folders)

    def add(one: Service) -> Service:
        own = [folder.path for folder in listed if folder.owner == one.user and one.user != "root"]
        return replace(one, writes=tuple(dict.fromkeys((*one.writes, *own))))

    return replace(part, services=tuple(map(add, part.services)))


def _let_drain_first(part: Part, parts: Iterable[Part]) -> Part:
    """Start services that drain after those that tasks need. So the others stop only when all tasks have ended."""
    needed = tuple(service.unit for one in parts for service in one.services if service.stage < Stage.WORK)
    services = tuple(replace(one, after=needed) if one.drains else one for one in part.services)
    return replace(part, services=services)
