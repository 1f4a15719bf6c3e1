"""The tunnel by which administrators enter a fleet, as frozen values."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import cached_property

DEFAULT_NETWORK = "10.99.0.0/24"


@dataclass(frozen=True, slots=True)
class Administrator:
    """Somebody who may enter: the public half of a WireGuard key, and the address that only its owner can use."""

    name: str
    public_key: str
    address: str


@dataclass(frozen=True)
class Vpn:
    """WireGuard on one host: where administrators reach it, and who they are."""

    host: str
    endpoint: str
    port: int
    network: str
    administrators: tuple[Administrator, ...]

    @cached_property
    def _network(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(self.network)

    @property
    def address(self) -> str:
        """Return the host's own address in the tunnel, which is the first one of the network."""
        return str(self._network[1])

    @property
    def prefix(self) -> int:
        return self._network.prefixlen
