"""The sections `database` and `broker` of fleet.yaml as people write them: servers that somebody else runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from airfleet.spec.fleet import BrokerSource
from airfleet.spec.sections.references import BY_REFERENCE, Reference
from airfleet.spec.sections.section import Section, rule


def require_reference(value: object) -> object:
    """Refuse a URL with a password in fleet.yaml itself."""
    if isinstance(value, str):
        raise rule("fleet.yaml never holds a password, and this URL has one", BY_REFERENCE)
    return value


class DatabaseSection(Section):
    """A PostgreSQL that somebody else runs, such as a managed one, in place of airfleet's own."""

    url: Annotated[Reference, BeforeValidator(require_reference)] = Field(
        description="A reference to the URL of the metadata database: postgresql://login:password@host:port/database.",
        examples=[{"env": "AIRFLEET_DATABASE"}],
    )


class BrokerSection(Section):
    """A RabbitMQ that somebody else runs, such as a managed one, in place of airfleet's own."""

    url: Annotated[Reference, BeforeValidator(require_reference)] = Field(
        description="A reference to the URL of a virtual host: amqps://login:password@host:port/vhost.",
        examples=[{"env": "AIRFLEET_BROKER"}],
    )
    management: Annotated[Reference, BeforeValidator(require_reference)] | None = Field(
        default=None,
        description="A reference to the URL of its management API, with the login of an administrator: "
        "https://login:password@host:port. With it, airfleet makes a login of least rights for each pool.",
        examples=[{"env": "AIRFLEET_BROKER_MANAGEMENT"}],
    )
    authorities: str | None = Field(
        default=None,
        description="The file of the certificates that the broker's certificate is checked against, in PEM. "
        "It is relative to the project.",
        examples=["broker-ca.pem"],
        json_schema_extra={"x-default": "those of the system"},
    )


def convert(written: BrokerSection) -> BrokerSource:
    """Return where the broker is."""
    management = written.management.convert() if written.management else None
    return BrokerSource(written.url.convert(), management, written.authorities)
