"""How web hosts read the logs of tasks from worker and scheduler hosts, with TLS.

Airflow's log servers speak HTTP. On hosts whose logs another host reads, they listen on the loopback, and a HAProxy
ends TLS in front of them at the ports that Airflow knows. The log server of a worker host runs as the user of the
tasks, so it must not read the key of the host: the HAProxy does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from airfleet.components.health import LOOPBACK
from airfleet.components.host_model import (
    AUTHORITIES,
    TRIGGERER_LOGS,
    TRIGGERER_LOGS_NEAR,
    WORKER_LOGS,
    WORKER_LOGS_NEAR,
    Place,
)
from airfleet.spec.addresses import join_port
from airfleet.spec.topology import Host, Role


@dataclass(frozen=True, slots=True)
class LogServer:
    """A log server: the role whose logs it serves, its name, its port for other hosts, and its port on the loopback."""

    role: Role
    name: str
    port: int
    own: int


SERVERS = (
    LogServer("worker", "worker-logs", WORKER_LOGS, WORKER_LOGS_NEAR),
    LogServer("scheduler", "triggerer-logs", TRIGGERER_LOGS, TRIGGERER_LOGS_NEAR),
)


def is_behind_proxy(place: Place, host: Host) -> bool:
    """Return whether a HAProxy is in front of the log servers of a host: another host reads them."""
    return any(web != host for web in place.fleet.with_role("web"))


def list_servers(place: Place) -> tuple[LogServer, ...]:
    """Return the log servers of this host that are behind its HAProxy."""
    if not is_behind_proxy(place, place.host):
        return ()
    return tuple(one for one in SERVERS if one.role in place.host.roles)


def find_listener(place: Place, port: int) -> tuple[str, int]:
    """Return the address and the port at which the log server of this host with this port really listens."""
    behind = {one.port: one.own for one in list_servers(place)}
    return (LOOPBACK, behind[port]) if port in behind else (place.listen, port)


def render_list(place: Place) -> str:
    """Return the file of the log servers that a web host may ask: how to reach each HOST:PORT that Airflow knows."""
    # Airflow puts the address of a task's host in front of the port as it is, which is no URL where it is one of IPv6.
    # So this is a name that an api-server looks up, and what is asked is the URL.
    listed = {
        f"{host.address}:{one.port}": _reach(place, host, one)
        for one in SERVERS
        for host in place.fleet.with_role(one.role)
    }
    return json.dumps(listed, indent=1) + "\n"


def _reach(place: Place, host: Host, server: LogServer) -> dict[str, str]:
    if place.credentials.encryption.logs.is_used and is_behind_proxy(place, host):
        return {"url": f"https://{join_port(host.address, server.port)}", "authorities": str(AUTHORITIES)}
    return {"url": f"http://{join_port(host.address, server.port)}"}
