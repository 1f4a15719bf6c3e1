"""How monitor hosts read the metrics of a host: through one port with TLS, which HAProxy serves.

Exporters speak HTTP. Once all monitor hosts use the port with TLS, exporters listen on the loopback. Each exporter has
a path of its own at that port, `/NAME/metrics`. Who asks must have the key of a monitor host.
"""

from __future__ import annotations

from dataclasses import dataclass

from airfleet.components.health import LOOPBACK
from airfleet.components.host_model import (
    BALANCER_METRICS,
    LOG_AGENT_METRICS,
    METRICS_TLS,
    NODE_METRICS,
    POSTGRES_METRICS,
    PROXY_METRICS,
    RABBITMQ_METRICS,
    OpenPort,
    Place,
)
from airfleet.spec.addresses import join_port
from airfleet.spec.topology import Host


@dataclass(frozen=True, slots=True)
class HostExporter:
    """One exporter of a host: its name, which begins the path of its metrics, and its own port."""

    name: str
    port: int


EXPORTERS = NODE, POSTGRESQL, RABBITMQ, BALANCER, PROXY, LOGS = (
    HostExporter("node", NODE_METRICS),
    HostExporter("postgres", POSTGRES_METRICS),
    HostExporter("rabbitmq", RABBITMQ_METRICS),
    HostExporter("balancer", BALANCER_METRICS),
    HostExporter("proxy", PROXY_METRICS),
    HostExporter("logs", LOG_AGENT_METRICS),
)


def list_exporters(place: Place) -> tuple[HostExporter, ...]:
    """Return the exporters of this host that are behind the port with TLS. Without a monitor host, there are none."""
    if not place.addresses("monitor"):
        return ()
    by_role = (("database", POSTGRESQL), ("broker", RABBITMQ), ("balancer", BALANCER), ("worker", PROXY))
    own = tuple(exporter for role, exporter in by_role if role in place.host.roles)
    return (NODE, *own, *((LOGS,) if place.fleet.with_role("logs") else ()))


def find_listener(place: Place) -> str:
    """Return the address at which the exporters of this host listen."""
    return place.listen if _is_open(place) else LOOPBACK


def find_own_address(place: Place) -> str:
    """Return the address at which processes of this host reach its exporters."""
    return place.own_address if _is_open(place) else LOOPBACK


def open_port(place: Place, exporter: HostExporter, why: str) -> tuple[OpenPort, ...]:
    """Return the port of an exporter if monitor hosts may still read it without TLS."""
    return (OpenPort(exporter.port, place.addresses("monitor"), why),) if _is_open(place) else ()


def find_target(place: Place, host: Host, exporter: HostExporter) -> str:
    """Return the address and port where a monitor host reads an exporter of a host."""
    port = METRICS_TLS if place.credentials.encryption.metrics.is_used else exporter.port
    return join_port(host.address, port)


def _is_open(place: Place) -> bool:
    return bool(place.addresses("monitor")) and not place.credentials.encryption.metrics.is_required
