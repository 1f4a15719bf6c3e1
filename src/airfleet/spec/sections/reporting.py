"""The `reporting` section of fleet.yaml: a login that reads what Airflow has done, for reports."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from airfleet.spec.sections.networks import Network
from airfleet.spec.sections.references import BY_REFERENCE, Reference
from airfleet.spec.sections.section import Section, rule


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
    readers: Annotated[list[Network], Field(min_length=1)] = Field(
        description="The addresses or networks that may use the login, such as those of a BI tool.",
        examples=[["10.0.9.5", "10.0.10.0/24"]],
    )
    connections: Annotated[int, Field(ge=1, le=20)] = Field(
        default=5, description="Connections that the login may have to each database host at once."
    )
    seconds: Annotated[int, Field(ge=1, le=3600)] = Field(default=60, description="Seconds that a statement may take.")
