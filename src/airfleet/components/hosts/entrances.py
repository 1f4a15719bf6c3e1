"""The ways into a fleet for people: who reaches SSH and the UI of a host, and the tunnel of administrators.

A module of its own, because the firewall, the servers of the UI and the tunnel have to agree.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from airfleet.components.host_model import EVERY_ADDRESS, OpenPort, Place
from airfleet.spec.addresses import collapse
from airfleet.spec.fleet import Fleet

# The interface of the tunnel on its host.
TUNNEL = "airfleet-vpn"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The tunnel on its host, and the address and port in the URL of the UI, which the host answers in the tunnel."""

    interface: str
    ui_address: str
    ui_port: int


def ends_tunnel(place: Place) -> bool:
    """Whether the tunnel of administrators ends at this host."""
    return place.fleet.vpn is not None and place.fleet.vpn.host == place.host.name


def find_tunnel(place: Place) -> Tunnel | None:
    """Return the tunnel, or None on a host where it does not end."""
    fleet = place.fleet
    return Tunnel(TUNNEL, find_ui_address(fleet), fleet.ports.api) if ends_tunnel(place) else None


def find_ui_address(fleet: Fleet) -> str:
    """Return the address in the URL of the UI, or "" if that is a name, which no tunnel can lead to."""
    try:
        return str(ipaddress.IPv4Address(fleet.public_address))
    except ValueError:
        return ""


def open_ssh(place: Place, ports: Iterable[int]) -> tuple[OpenPort, ...]:
    """Return the openings for SSH. Through the tunnel, its host is the jump host to all others."""
    return tuple(one for port in sorted(set(ports)) for one in _open(place, port, "SSH", _list_jump_hosts(place)))


def open_ui(place: Place) -> tuple[OpenPort, ...]:
    """Return the openings for the UI. Tasks and monitors of the fleet may use it too."""
    fleet, port, why = place.fleet, place.fleet.ports.api, "UI and API"
    if fleet.allow_from is None and ends_tunnel(place) and not fleet.balancer and place.listen != EVERY_ADDRESS:
        # HAProxy listens on every address here because of the tunnel, and one of them may be public.
        return (OpenPort(port, (), why, address=place.listen), _open_in_tunnel(port, why))
    return _open(place, port, why, tuple(host.address for host in fleet.hosts if host != place.host))


def admits(place: Place, client: str) -> bool:
    """Whether the firewall of a host lets in SSH from an address at which it sees a client."""
    allowed = place.fleet.allow_from
    if allowed is None or client in place.machine.addresses:
        return True
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    if client in _list_jump_hosts(place) or client in list_administrators(place):
        return True
    return any(address in ipaddress.ip_network(one) for one in allowed)


def list_administrators(place: Place) -> tuple[str, ...]:
    """Return the addresses of administrators in the tunnel, if it ends at this host."""
    vpn = place.fleet.vpn
    return tuple(one.address for one in vpn.administrators) if vpn and ends_tunnel(place) else ()


def leads_nowhere(place: Place, client: str, now: str) -> bool:
    """Whether a client has an address to which a tunnel leads, and the tunnel of fleet.yaml does not lead to it.

    `now` is the address and the network of the tunnel that the host has at present, or "".
    """
    vpn = place.fleet.vpn
    networks = (now, vpn.network if vpn and ends_tunnel(place) else "")
    try:
        address = ipaddress.IPv4Address(client)
        is_inside = any(address in ipaddress.IPv4Network(one, strict=False) for one in networks if one)
    except ValueError:
        return False
    return is_inside and client not in (*place.machine.addresses, *list_administrators(place))


def _open(place: Place, port: int, why: str, hosts: tuple[str, ...]) -> tuple[OpenPort, ...]:
    allowed = place.fleet.allow_from
    if allowed is None:
        return (OpenPort(port, (), why),)
    found = [OpenPort(port, _merge(allowed), why)] if allowed else []
    if hosts:
        found.append(OpenPort(port, hosts, f"{why} for hosts"))
    if ends_tunnel(place):
        found.append(_open_in_tunnel(port, why))
    return tuple(found)


def _open_in_tunnel(port: int, why: str) -> OpenPort:
    return OpenPort(port, (), f"{why} in the tunnel", interface=TUNNEL)


def _list_jump_hosts(place: Place) -> tuple[str, ...]:
    """Return the address from which administrators of the tunnel come to another host."""
    vpn = place.fleet.vpn
    ends = [host for host in place.fleet.hosts if vpn and host.name == vpn.host]
    return tuple(host.address for host in ends if host != place.host)


def _merge(networks: Iterable[str]) -> tuple[str, ...]:
    """Return networks that do not overlap, as nftables wants them."""
    return tuple(str(one).removesuffix(f"/{one.max_prefixlen}") for one in collapse(networks))
