"""The collector that fleet.yaml describes, and where the secrets in its headers come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from airfleet.spec.notifications import Fetch
from airfleet.spec.secret_ref import SecretRef
from airfleet_provider.contract.tracing_policy import TracingPolicy


@dataclass(frozen=True, slots=True)
class Tracing:
    """The policy without its secrets, and each header whose value is a reference."""

    policy: TracingPolicy
    secrets: Mapping[str, SecretRef] = field(default_factory=dict)

    def fetch(self, fetch: Fetch) -> TracingPolicy:
        """Return the policy with its secrets. Raises what `fetch` raises."""
        fetched = {name: fetch(ref, f"fleet.yaml: tracing.headers.{name}") for name, ref in self.secrets.items()}
        return replace(self.policy, headers={**self.policy.headers, **fetched})
