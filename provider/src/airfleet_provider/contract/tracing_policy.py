"""Where traces of ended runs go: the key `tracing` of the agents' configuration, or no such key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# What the endpoint's path ends with, by the specification of OTLP over HTTP.
PATH = "/v1/traces"


@dataclass(frozen=True, slots=True)
class TracingPolicy:
    """A collector, and what traces say of this platform.

    `endpoint` is the collector's base URL, or the whole URL that ends with `PATH`. `service` is the `service.name` of
    all spans. `authority` is a file with certificates to trust in place of the system's. `base_url` is Airflow's UI.
    """

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    service: str = "airflow"
    authority: str = ""
    base_url: str = ""

    @property
    def url(self) -> str:
        """Return where spans are posted."""
        base = self.endpoint.rstrip("/")
        return base if base.endswith(PATH) else f"{base}{PATH}"

    def to_json(self) -> dict[str, Any]:
        """Return the policy as plain data; `from_json` reads it."""
        return {**asdict(self), "headers": dict(self.headers)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TracingPolicy:
        """Return the policy that `to_json` wrote."""
        return cls(**data)
