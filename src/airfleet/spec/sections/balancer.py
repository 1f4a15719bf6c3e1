"""The `balancer` section of fleet.yaml: the address that the balancer hosts share."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field

from airfleet.spec.sections.section import Section, rule


def _virtual(text: str) -> str:
    try:
        found = ipaddress.IPv4Address(text)
    except ValueError:
        hint = "write a free address of the network of the balancer hosts, such as 10.0.0.9"
        raise rule(f"expected an IPv4 address, found {text!r}", hint) from None
    if found.is_loopback or found.is_multicast or found.is_unspecified or text == "255.255.255.255":
        raise rule(f"no host can share the address {text}", "write a free address of the network of the balancer hosts")
    return text


class BalancerSection(Section):
    """The address at which people and programs reach UI and API. One of the balancer hosts has it at a time."""

    address: Annotated[str, AfterValidator(_virtual)] = Field(
        description=(
            "A free IPv4 address in the network of the hosts with the role balancer. If the host that has it fails,"
            " another one takes it over."
        ),
        examples=["10.0.0.9"],
    )
