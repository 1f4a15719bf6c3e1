"""What would make the ways into a host fail: `allow_from` that keeps this machine out, and `vpn` without WireGuard."""

from __future__ import annotations

from collections.abc import Iterator

from airfleet.components.host_model import Place
from airfleet.components.hosts import entrances
from airfleet.runners.fleet.plan.diff import Obstacle
from airfleet.runners.fleet.plan.facts import MachineFacts


def find_obstacles(place: Place, probe: MachineFacts, client: str) -> Iterator[Obstacle]:
    """Yield what must not be applied to a host, which sees this machine at the address `client`."""
    if client and entrances.leads_nowhere(place, client, probe.tunnel):
        what = (
            f"it sees this machine at {client}, in the tunnel, where fleet.yaml names no administrator at this address"
        )
        yield Obstacle(place.host.name, what, "keep this administrator until you have another way in, and come by that")
    elif client and not entrances.admits(place, client):
        what = f"it sees this machine at {client}, which `allow_from` keeps out: no later apply would reach it"
        yield Obstacle(place.host.name, what, f"add {client} to `allow_from`, or come by a way that it names")
    if entrances.ends_tunnel(place) and not probe.has_wireguard:
        what = "its kernel has no WireGuard, and the tunnel of `vpn` ends there"
        yield Obstacle(place.host.name, what, "load the module there (modprobe wireguard), or name another host")
