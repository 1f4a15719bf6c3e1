"""The limits of fleet.yaml on the tasks that call a service: starts in a minute, and tasks at once (ADR 76)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airfleet_provider.contract.breaker_rules import BreakerRule

# The place of the limits in airflow.cfg.
SECTION, KEY = "airfleet", "limits"
# A limit on which no task has waited may start so many seconds' worth of tasks at once, and one task besides.
BURST_S = 3.0


@dataclass(frozen=True, slots=True)
class ServiceLimit:
    """At most so many starts in a minute, and so many tasks at once; None is without limit.

    `service` says which tasks call the service, as the rule of a breaker does. If fleet.yaml has a breaker with the
    name of the limit, it is that breaker's rule, and what tasks have joined the one have joined the other.
    """

    service: BreakerRule
    starts_per_minute: int | None = None
    at_once: int | None = None

    @property
    def name(self) -> str:
        """Return the name of the limit, which is that of its service."""
        return self.service.name

    @property
    def most_tokens(self) -> float:
        """Return how many starts may follow each other at once: what comes in while the scheduler is between loops."""
        return 1.0 + (self.starts_per_minute or 0) * BURST_S / 60

    def refill(self, tokens: float, seconds: float) -> float:
        """Return the tokens after some more seconds. A clock that was set back takes none away."""
        if self.starts_per_minute is None:
            return self.most_tokens
        return min(self.most_tokens, tokens + max(0.0, seconds) * self.starts_per_minute / 60)

    def to_json(self) -> dict[str, Any]:
        """Return the limit as plain data; `from_json` reads it."""
        service = self.service.to_json()
        return {"service": service, "starts_per_minute": self.starts_per_minute, "at_once": self.at_once}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ServiceLimit:
        """Return the limit that `to_json` wrote."""
        return cls(BreakerRule.from_json(data["service"]), data["starts_per_minute"], data["at_once"])


def describe(starts_per_minute: int | None, at_once: int | None) -> str:
    """Return a limit in words."""
    starts = f"{starts_per_minute} start{'s' * (starts_per_minute != 1)} a minute"
    return " and ".join([*([starts] if starts_per_minute else []), *([f"{at_once} at once"] if at_once else [])])


def render(limits: Iterable[ServiceLimit]) -> str:
    """Return limits as the text that airflow.cfg holds."""
    return json.dumps([one.to_json() for one in limits])


def parse(text: str) -> tuple[ServiceLimit, ...]:
    """Return the limits of such a text; none for an empty one."""
    return tuple(map(ServiceLimit.from_json, json.loads(text or "[]")))


def list_services(breakers: Iterable[BreakerRule], limits: Iterable[ServiceLimit]) -> tuple[BreakerRule, ...]:
    """Return which tasks call which service: the rules of all breakers, and of the limits that have no breaker."""
    found = {rule.name: rule for rule in breakers}
    return (*found.values(), *(one.service for one in limits if one.name not in found))
