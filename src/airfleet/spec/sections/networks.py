"""Addresses and networks of machines that may connect, as fleet.yaml writes them."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator

from airfleet.spec import fleet
from airfleet.spec.sections.section import rule


def _network(text: str) -> str:
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError:
        hint = "write it as 10.0.9.5 or 10.0.9.0/24"
        raise rule(f"expected an IPv4 address or the address of a network, found {text!r}", hint) from None
    if found.prefixlen < fleet.WIDEST_READERS:
        hint = "name the machines, or the network of the machines, that are to connect"
        raise rule(f"{text} lets in too many machines", hint)
    return text


Network = Annotated[str, AfterValidator(_network)]
