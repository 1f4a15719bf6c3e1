"""The `tracing` section of fleet.yaml: the collector that gets a trace of each Dag run."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from airfleet.spec.sections.notifications import is_in_clear
from airfleet.spec.sections.references import BY_REFERENCE, Reference, TextOrReference
from airfleet.spec.sections.section import Section, check_base_url, is_secret_key, rule, shaped
from airfleet.spec.tracing import Tracing
from airfleet_provider.contract.tracing_policy import TracingPolicy

# Headers whose value lets somebody in, beside those whose name says so.
_SECRET_HEADER = re.compile(r"authorization|cookie|(^|[-_])(key|auth|credential)s?$", re.IGNORECASE)
# The loop writes these itself.
_OWN_HEADERS = frozenset({"content-type", "content-encoding", "content-length", "host", "transfer-encoding"})


def _endpoint(url: str) -> str:
    return check_base_url(url, "a collector", "https://host:4318", "a header")


HeaderName = Annotated[str, *shaped("[A-Za-z0-9][A-Za-z0-9_-]{0,99}", "the name of an HTTP header")]


class TracingSection(Section):
    """A collector that takes traces by OTLP over HTTP: OpenTelemetry's, Jaeger, Tempo or a service."""

    endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        description="Its base URL, as OTEL_EXPORTER_OTLP_ENDPOINT has it. Traces go to /v1/traces there.",
        examples=["https://collector.example.com:4318"],
    )
    headers: dict[HeaderName, TextOrReference] = Field(
        default={},
        description="Headers of each request. A secret is a reference, and its value is the whole header.",
        examples=[{"Authorization": {"env": "OTLP_AUTHORIZATION"}, "X-Scope-OrgID": "data"}],
    )
    service: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None,
        description="The name of the service in the traces: `service.name`.",
        examples=["airflow-production"],
        json_schema_extra={"x-default": "the name of the fleet"},
    )
    authority: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="The file on the scheduler hosts with the certificates to trust, in place of the system's.",
        examples=["/etc/ssl/company.pem"],
    )

    @model_validator(mode="after")
    def _keeps_secrets(self) -> TracingSection:
        for name, value in self.headers.items():
            if name.lower() in _OWN_HEADERS:
                raise rule(f"airfleet writes the header {name} itself", "remove it")
            if isinstance(value, str):
                if is_secret_key(name.replace("-", "_")) or _SECRET_HEADER.search(name):
                    raise rule(f"fleet.yaml never holds a secret, and the header {name} is one", BY_REFERENCE)
                if not value.isascii() or not value.isprintable() or value != value.strip():
                    raise rule(f"the header {name} has a character that no header may have", "write plain ASCII")
            elif is_in_clear(self.endpoint):
                raise rule("a secret never goes over a connection without encryption", "write https://host:port")
        if len({name.lower() for name in self.headers}) < len(self.headers):
            raise rule("a header is there twice", "remove one: capitals do not matter")
        return self


def convert(written: TracingSection, fleet: str) -> Tracing:
    """Return the section as frozen values; `fleet` is the name of the fleet."""
    policy = TracingPolicy(
        endpoint=written.endpoint,
        headers={name: value for name, value in written.headers.items() if isinstance(value, str)},
        service=written.service or fleet,
        authority=written.authority or "",
    )
    secrets = {name: value.convert() for name, value in written.headers.items() if isinstance(value, Reference)}
    return Tracing(policy, secrets)
