"""The `openlineage` section of fleet.yaml: tasks write events of OpenLineage, and backends get them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from airfleet.spec.openlineage import OpenLineage
from airfleet.spec.sections.notifications import is_in_clear
from airfleet.spec.sections.references import Reference
from airfleet.spec.sections.section import Section, check_base_url, rule, shaped
from airfleet_provider.contract.openlineage_policy import (
    EVENT_DAYS,
    KEPT_DAYS,
    BackendKind,
    LineageBackend,
    OpenLineagePolicy,
)


def _url(url: str) -> str:
    return check_base_url(url, "a backend", "https://marquez.example.com:5000", "`token`")


BackendName = Annotated[str, *shaped("[a-z][a-z0-9_-]{0,39}", "the name of a backend: small letters, digits, - and _")]


class LineageBackendSection(Section):
    """A program that takes events of OpenLineage over HTTP."""

    kind: Literal["marquez", "datahub", "openmetadata"] = Field(
        description="What it is. It decides the path and which events are sent.", examples=["marquez"]
    )
    url: Annotated[str, AfterValidator(_url)] = Field(
        description="Its address: of Marquez's API, of DataHub's GMS, or of OpenMetadata's server.",
        examples=["https://marquez.example.com:5000"],
    )
    token: Reference | None = Field(
        default=None,
        description="What it lets clients in with: it is sent as `Authorization: Bearer`.",
        examples=[{"env": "MARQUEZ_API_KEY"}],
    )
    dags: list[Annotated[str, Field(min_length=1, max_length=250)]] = Field(
        default=[],
        description="Ids of Dags whose events it gets, or patterns of them. Without one, it gets all.",
        examples=[["sales_*", "flights"]],
    )
    authority: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="The file on the scheduler hosts with the certificates to trust, in place of the system's.",
        examples=["/etc/ssl/company.pem"],
    )

    @model_validator(mode="after")
    def _keeps_secrets(self) -> LineageBackendSection:
        if self.token is not None and is_in_clear(self.url):
            raise rule("a secret never goes over a connection without encryption", "write https://host:port")
        return self


class OpenLineageSection(Section):
    """Tasks write what they read and write as events of OpenLineage. No task waits for a backend."""

    namespace: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None,
        description="The namespace of jobs in the events.",
        json_schema_extra={"x-default": "the name of the fleet"},
        examples=["airflow-production"],
    )
    keep_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        default=KEPT_DAYS,
        description="Days for which datasets, columns and spans are kept after an event or a task named them last.",
    )
    event_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        default=EVENT_DAYS,
        description="Days for which an event itself is kept, once it was read and every backend has it.",
    )
    backends: dict[BackendName, LineageBackendSection] = Field(
        default={},
        description="Programs that get the events too.",
        examples=[{"marquez": {"kind": "marquez", "url": "https://marquez.example.com:5000"}}],
    )


def convert(written: OpenLineageSection, fleet: str) -> OpenLineage:
    """Return the section as frozen values; `fleet` is the name of the fleet."""
    backends = tuple(
        LineageBackend(name, BackendKind(one.kind), one.url, dags=tuple(one.dags), authority=one.authority or "")
        for name, one in written.backends.items()
    )
    tokens = {name: one.token.convert() for name, one in written.backends.items() if one.token is not None}
    return OpenLineage(
        OpenLineagePolicy(backends, written.keep_days, written.event_days), written.namespace or fleet, tokens
    )
