"""The notifications that fleet.yaml describes: the policy without its secrets, and where each secret comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from airfleet.spec.secret_ref import SecretRef
from airfleet_provider.contract.notification_policy import NotificationPolicy, Receiver

# A function that fetches the secret of a reference; `where` names its place in fleet.yaml.
Fetch = Callable[[SecretRef, str], str]


@dataclass(frozen=True, slots=True)
class SecretReceiver:
    """A receiver whose URL and secret are not fetched yet."""

    receiver: Receiver
    url: SecretRef | None = None
    secret: SecretRef | None = None


@dataclass(frozen=True, slots=True)
class Notifications:
    """The policy, whose receivers are in `receivers`, and the URL to request while alerting works."""

    policy: NotificationPolicy = field(default_factory=NotificationPolicy)
    receivers: tuple[SecretReceiver, ...] = ()
    ping_url: SecretRef | None = None

    def fetch(self, fetch: Fetch) -> NotificationPolicy:
        """Return the policy with its secrets. Raises what `fetch` raises."""

        def find(ref: SecretRef | None, key: str, other: str) -> str:
            return fetch(ref, f"fleet.yaml: notifications.{key}") if ref else other

        receivers = tuple(
            replace(
                one.receiver,
                url=find(one.url, f"receivers.{one.receiver.name}", one.receiver.url),
                secret=find(one.secret, f"receivers.{one.receiver.name}", ""),
            )
            for one in self.receivers
        )
        ping_url = find(self.ping_url, "ping", "")
        return replace(self.policy, receivers=receivers, ping_url=ping_url)
