"""The `database` section of fleet.yaml as people write it: a PostgreSQL that somebody else runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

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
