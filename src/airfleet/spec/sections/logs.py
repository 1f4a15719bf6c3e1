"""The `logs` section of fleet.yaml: what the index of logs must not hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from airfleet.spec.sections.own_database import require_reference
from airfleet.spec.sections.references import Reference
from airfleet.spec.sections.section import Pattern, Section, shaped

Prefix = Annotated[str, *shaped("[a-z][a-z0-9_-]{0,99}", "the beginning of names of indexes: a-z, 0-9, - and _")]


class OpenSearchSection(Section):
    """An OpenSearch or Elasticsearch that keeps the lines of a fleet. Hosts with the role logs write to it."""

    url: Annotated[Reference, BeforeValidator(require_reference)] = Field(
        description="A reference to the URL of the server: https://login:password@host:port.",
        examples=[{"env": "OPENSEARCH_URL"}],
    )
    prefix: Prefix = Field(default="airfleet-logs", description="The beginning of the names of its indexes.")


class LogsSection(Section):
    """The index of logs."""

    redact: list[Pattern] = Field(
        default=[],
        description=(
            "Regular expressions of what is hidden in lines: the groups of a match, or the whole match without a group."
            " Passwords in URLs and after `password=` are hidden anyway."
        ),
        examples=[[r"IBAN (\w+)"]],
    )
    opensearch: OpenSearchSection | None = Field(
        default=None,
        description="Of a fleet: an OpenSearch or Elasticsearch keeps the lines, and not the hosts with the role logs.",
        examples=[{"url": {"env": "OPENSEARCH_URL"}}],
        json_schema_extra={"x-default": "an index on the hosts with the role logs"},
    )
