"""What fleet.yaml says of events of OpenLineage, and where the tokens of backends come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from airfleet.spec.notifications import Fetch
from airfleet.spec.secret_ref import SecretRef
from airfleet_provider.contract.openlineage_policy import OpenLineagePolicy


@dataclass(frozen=True, slots=True)
class OpenLineage:
    """The policy without its secrets, the token of each backend that has one, and the namespace of jobs."""

    policy: OpenLineagePolicy
    namespace: str
    tokens: Mapping[str, SecretRef] = field(default_factory=dict)

    def fetch(self, fetch: Fetch) -> OpenLineagePolicy:
        """Return the policy with its secrets. Raises what `fetch` raises."""
        fetched = {
            name: fetch(ref, f"fleet.yaml: openlineage.backends.{name}.token") for name, ref in self.tokens.items()
        }
        backends = tuple(replace(one, token=fetched.get(one.name, "")) for one in self.policy.backends)
        return replace(self.policy, backends=backends)
