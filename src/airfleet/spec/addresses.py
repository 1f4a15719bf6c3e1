"""Addresses of hosts as text: in front of a port, IPv6 needs brackets, and IPv4 addresses and names have none."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable


def is_ipv6(address: str) -> bool:
    """Return whether an address is one of IPv6. A name is not, whatever it leads to."""
    return ":" in address


def bracket(address: str) -> str:
    """Return an address as it stands in a URL, or before a colon and a port."""
    return f"[{address}]" if is_ipv6(address) else address


def join_port(address: str, port: int) -> str:
    """Return an address with a port."""
    return f"{bracket(address)}:{port}"


def write_dotted(address: str) -> str:
    """Return an IPv6 address in its form with dots, such as fd00:0:0:0:0:0:0.0.0.17; any other as it is."""
    if not is_ipv6(address):
        return address
    packed = ipaddress.IPv6Address(address).packed
    groups = (f"{int.from_bytes(packed[at : at + 2]):x}" for at in range(0, 12, 2))
    return f"{':'.join(groups)}:{ipaddress.IPv4Address(packed[12:])}"


def collapse(networks: Iterable[str]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Return networks of both families, those of IPv4 first, none within another."""
    parsed = [ipaddress.ip_network(one) for one in networks]
    four = [one for one in parsed if isinstance(one, ipaddress.IPv4Network)]
    six = [one for one in parsed if isinstance(one, ipaddress.IPv6Network)]
    return (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six))
