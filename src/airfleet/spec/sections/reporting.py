"""The `reporting` section of fleet.yaml: a login that reads what Airflow has done, for reports."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from airfleet.spec import fleet
from airfleet.spec.sections.references import BY_REFERENCE, Reference
from airfleet.spec.sections.section import Section, rule


def _network(text: str) -> str:
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError:
        hint = "write it as 10.0.9.5 or 10.0.9.0/24"
        raise rule(f"expected an IPv4 address or the address of a network, found {text!r}", hint) from None
    if found.prefixlen < fleet.WIDEST_READERS:
        hint = "name the machines, or the network of the machines, that make reports"
        raise rule(f"{text} lets in too many machines", hint)
    return text


def _reference(value: object) -> object:
    if isinstance(value, str):
        raise rule("fleet.yaml never holds a password", BY_REFERENCE)
    return value


class ReportingSection(Section):
    """The login `airfleet_reporting` of the metadata database. It reads runs and tasks, and nothing secret."""

    password: Annotated[Reference, BeforeValidator(_reference)] = Field(
        description="A reference to the password of the login: 16 characters or more.",
        examples=[{"env": "REPORTING_PASSWORD"}],
    )
    readers: Annotated[list[Annotated[str, AfterValidator(_network)]], Field(min_length=1)] = Field(
        description="The addresses or networks that may use the login, such as those of a BI tool.",
        examples=[["10.0.9.5", "10.0.10.0/24"]],
    )
    connections: Annotated[int, Field(ge=1, le=20)] = Field(
        default=5, description="Connections that the login may have to each database host at once."
    )
    seconds: Annotated[int, Field(ge=1, le=3600)] = Field(default=60, description="Seconds that a statement may take.")
