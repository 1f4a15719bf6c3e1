"""The ports of a web host: where its two servers listen, and how other hosts reach them.

The api-server and the execution API speak HTTP without TLS. HAProxy on the same host ends TLS in front of them, at
ports of its own. Once every client uses those, the servers listen on the loopback alone. Without a balancer, the
api-server is what browsers reach, and it stays at `ports.api` of fleet.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass

from airfleet.components.health import LOOPBACK
from airfleet.components.host_model import API, API_TLS, EVERY_ADDRESS, EXECUTION, EXECUTION_TLS, OpenPort, Place
from airfleet.components.hosts import entrances
from airfleet.spec.addresses import join_port
from airfleet.spec.topology import Host

TLS_PORTS = {API: API_TLS, EXECUTION: EXECUTION_TLS}


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server of a web host, as a proxy reaches it. With TLS, the certificate has to have the host's name."""

    name: str
    address: str
    port: int
    has_tls: bool

    @property
    def place(self) -> str:
        """Return the address with the port, as HAProxy and a URL have them."""
        return join_port(self.address, self.port)


def find_port(place: Place, server: int) -> int:
    """Return the port of the server API or EXECUTION without TLS."""
    return place.fleet.ports.api if server == API and not place.fleet.with_role("balancer") else server


def find_own(place: Place, server: int) -> str:
    """Return the address on which the server API or EXECUTION of this host listens."""
    is_public = server == API and not place.fleet.with_role("balancer")
    return LOOPBACK if place.credentials.encryption.api.is_required and not is_public else place.listen


def find_near(place: Place, server: int) -> str:
    """Return the address at which other processes of this host reach the server API or EXECUTION."""
    listens = find_own(place, server)
    return LOOPBACK if listens == EVERY_ADDRESS else listens


def list_upstreams(place: Place, server: int) -> tuple[Upstream, ...]:
    """Return the servers API or EXECUTION of all web hosts, as a proxy of this host reaches them."""
    return tuple(_find_upstream(place, host, server) for host in place.fleet.with_role("web"))


def _find_upstream(place: Place, host: Host, server: int) -> Upstream:
    if host == place.host:
        return Upstream(host.name, find_near(place, server), find_port(place, server), has_tls=False)
    has_tls = place.credentials.encryption.api.is_used
    port = TLS_PORTS[server] if has_tls else find_port(place, server)
    return Upstream(host.name, host.address, port, has_tls=has_tls)


def find_url(place: Place, host: Host) -> str:
    """Return the URL of a web host's execution API for a process of this host that uses no proxy."""
    upstream = _find_upstream(place, host, EXECUTION)
    return f"{'https' if upstream.has_tls else 'http'}://{upstream.place}"


def list_clients(place: Place, server: int) -> tuple[str, ...]:
    """Return the addresses of the other hosts that use the server API or EXECUTION of this host."""
    # The agents of scheduler hosts ask both servers for their health.
    others = place.addresses("balancer") if server == API else ()
    users = tuple(dict.fromkeys((*others, *place.addresses("scheduler", "worker"))))
    return tuple(address for address in users if address != place.host.address)


def list_clear(place: Place) -> tuple[OpenPort, ...]:
    """Return the ports without TLS that the firewall opens."""
    is_public = not place.fleet.with_role("balancer")
    public = entrances.open_ui(place) if is_public else ()
    if place.credentials.encryption.api.is_required:
        return public
    hidden = OpenPort(EXECUTION, list_clients(place, EXECUTION), "tasks and schedulers, without encryption")
    behind = OpenPort(API, list_clients(place, API), "the balancer and releases, without encryption")
    return tuple(port for port in (hidden, *(() if is_public else (behind,))) if port.sources) + public
