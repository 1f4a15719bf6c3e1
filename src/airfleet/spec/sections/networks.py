"""Addresses and networks of machines that may connect, as fleet.yaml writes them."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator

from airfleet.spec import fleet
from airfleet.spec.sections.section import rule


def _network(text: str) -> str:
    try:
        # A zone (fe80::1%eth0) may be any text, and this text gets into the rules of firewall and database.
        found = ipaddress.ip_network("" if "%" in text else text)
    except ValueError:
        hint = "write it as 10.0.9.5, 10.0.9.0/24 or fd00:9::/64"
        raise rule(f"expected an IP address or the address of a network, found {text!r}", hint) from None
    if found.prefixlen < (fleet.WIDEST_READERS if found.version == 4 else fleet.WIDEST_READERS_IPV6):
        hint = "name the machines, or the network of the machines, that are to connect"
        raise rule(f"{text} lets in too many machines", hint)
    return str(found).removesuffix("/128") if found.version == 6 else text


Network = Annotated[str, AfterValidator(_network)]
