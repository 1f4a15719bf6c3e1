"""The `vpn` section of fleet.yaml: the tunnel by which administrators enter the fleet."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field

from airfleet.spec import vpn
from airfleet.spec.sections.hosts import Address, Name, NetPort
from airfleet.spec.sections.section import Section, rule

KEY_BYTES = 32
# A /16 has more addresses than any team, and a /30 has one administrator.
WIDEST, NARROWEST = 16, 30


def _public_key(text: str) -> str:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != KEY_BYTES or base64.b64encode(found).decode() != text or not any(found):
        raise rule("not a public key of WireGuard", "write what `wg pubkey < private.key` prints: 44 characters")
    return text


def _tunnel_network(text: str) -> str:
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError:
        raise rule(f"expected a network, found {text!r}", "write it as 10.99.0.0/24") from None
    if not found.is_private or not WIDEST <= found.prefixlen <= NARROWEST:
        hint = f"write one of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, from /{WIDEST} to /{NARROWEST}"
        raise rule(f"{text} is no network for a tunnel", hint)
    return text


def _address(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise rule(f"expected an IPv4 address, found {text!r}", "write one of `vpn.network`, as 10.99.0.2") from None


class AdministratorSection(Section):
    """Somebody who may enter the fleet. The private half of the key stays with its owner."""

    public_key: Annotated[str, AfterValidator(_public_key)] = Field(
        description="What `wg pubkey` prints of the private key.",
        examples=["TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="],
    )
    address: Annotated[str, AfterValidator(_address)] = Field(
        description="The address in the tunnel, by which logs and the audit name who came.", examples=["10.99.0.2"]
    )


class VpnSection(Section):
    """WireGuard on a balancer host. Administrators reach UI and SSH of that host through it."""

    host: Name = Field(description="The balancer host where the tunnel ends.", examples=["web1"])
    endpoint: Address = Field(
        description="The name or address by which administrators reach the host from outside.",
        examples=["vpn.example.com"],
    )
    port: NetPort = Field(default=51820, description="The UDP port of the tunnel.")
    network: Annotated[str, AfterValidator(_tunnel_network)] = Field(
        default=vpn.DEFAULT_NETWORK, description="The network of the tunnel. The host has its first address."
    )
    administrators: dict[Name, AdministratorSection] = Field(
        default={},
        description="Who may enter, by name. Who is removed here is out after `airfleet apply`.",
        examples=[{"ann": {}}],
    )


def convert(written: VpnSection) -> vpn.Vpn:
    """Return the tunnel that the section describes."""
    people = (vpn.Administrator(name, one.public_key, one.address) for name, one in written.administrators.items())
    return vpn.Vpn(written.host, written.endpoint, written.port, written.network, tuple(people))
