"""Rules of fleet.yaml that concern the ways into a fleet: `allow_from` and `vpn`. They read the raw data."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from airfleet.spec.vpn import DEFAULT_NETWORK
from airfleet.spec.yaml_document import Violation


def findings(data: Mapping[str, object]) -> Iterator[Violation]:
    """Yield the violations. A value of the wrong type yields none: the model reports it."""
    machines = _map(data.get("hosts"))
    for key in ("allow_from", "vpn"):
        if data.get(key) is None:
            continue
        if not machines and not data.get("machines"):
            yield Violation((key,), "it is for a fleet, and this file has no hosts", "remove it, or add `hosts`")
        if data.get("firewall") is False:
            what = "airfleet's firewall does it, and this file turns that off"
            yield Violation((key,), what, "remove `firewall: false`")
    if machines and isinstance(vpn := data.get("vpn"), dict):
        yield from _vpn(vpn, machines)


def _vpn(vpn: dict[str, Any], machines: dict[str, Any]) -> Iterator[Violation]:
    name = vpn.get("host")
    host = _map(machines.get(name)) if isinstance(name, str) else {}
    roles = host.get("roles")
    balancers = [one for one, its in machines.items() if "balancer" in _words(_map(its).get("roles"))]
    hint = f"balancers: {', '.join(balancers)}" if balancers else "give the role balancer to a host"
    if isinstance(name, str) and name not in machines:
        yield Violation(("vpn", "host"), f"there is no host {name!r}", hint)
    elif isinstance(name, str) and "balancer" not in _words(roles) and not (roles is None and len(machines) == 1):
        what = f"{name} has not the role balancer, so nobody would reach the UI there"
        yield Violation(("vpn", "host"), what, hint)
    endpoint = vpn.get("endpoint")
    if isinstance(endpoint, str):
        for other, its in machines.items():
            if endpoint == _map(its).get("address"):
                what = f"{endpoint} is the `address` of {other} too, and no tunnel can lead to its own end"
                hint = f"write a private address under hosts.{other}.address, and the public one here"
                yield Violation(("vpn", "endpoint"), what, hint)
    written = vpn.get("network", DEFAULT_NETWORK)
    network = None
    with suppress(ValueError):
        network = ipaddress.IPv4Network(written)
    if network is None or network.num_addresses < 4:
        return
    for other, its in machines.items():
        with suppress(ValueError):
            if ipaddress.IPv4Address(_map(its).get("address")) in network:
                what = f"{other} has an address of the network {network}"
                yield Violation(("vpn", "network"), what, "write a network that nothing else uses")
                break
    yield from _administrators(_map(vpn.get("administrators")), network)


def _administrators(people: dict[str, Any], network: ipaddress.IPv4Network) -> Iterator[Violation]:
    owners: dict[str, str] = {}
    taken = {str(network[0]), str(network[1]), str(network[-1])}
    for name, one in people.items():
        where = ("vpn", "administrators", name)
        with suppress(ValueError):
            address = ipaddress.IPv4Address(_map(one).get("address"))
            if address not in network or str(address) in taken:
                what = f"{address} is no free address of {network}"
                yield Violation((*where, "address"), what, f"write one from {network[2]} to {network[-2]}")
        for key in ("address", "public_key"):
            value = _map(one).get(key)
            if not isinstance(value, str):
                continue
            owner = owners.setdefault(value, name)
            if owner != name:
                what = f"{owner} has the same {key.replace('_', ' ')}"
                hint = "give each administrator another one: the host would know only the last of them"
                yield Violation((*where, key), what, hint)


def _map(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(value: object) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
