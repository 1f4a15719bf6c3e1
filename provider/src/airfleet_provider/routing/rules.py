"""The queue of a task: its own, that of the worker pool it requests, or that of the first matching rule."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A task requests a worker pool with executor_config={"airfleet": {"pool": "memory"}}.
HINT = "airfleet"


class UnknownPoolError(Exception):
    """A task requests a worker pool that fleet.yaml does not define."""


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """Tasks that match all three regular expressions go to the queue; `operator` matches the name of its class."""

    queue: str
    dag: str = ".*"
    task: str = ".*"
    operator: str = ".*"

    def fits(self, dag: str, task: str, operator: str) -> bool:
        pairs = ((self.dag, dag), (self.task, task), (self.operator, operator))
        return all(re.fullmatch(pattern, text) for pattern, text in pairs)


@dataclass(frozen=True, slots=True)
class Routing:
    """The queue of each worker pool, and the rules in their order."""

    pools: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[RoutingRule, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> Routing:
        body = json.loads(text or "{}")
        return cls(body.get("pools", {}), tuple(RoutingRule(**rule) for rule in body.get("rules", ())))

    def choose(
        self, *, queue: str, default: str, config: Mapping[str, Any] | None, dag: str, task: str, operator: str
    ) -> str:
        """Return the queue of a task; a queue that the task sets itself stays.

        Raises:
            UnknownPoolError: the task requests a worker pool that does not exist.
        """
        if queue != default:
            return queue
        hint = (config or {}).get(HINT)
        pool = hint.get("pool") if isinstance(hint, Mapping) else None
        if pool is not None:
            if pool not in self.pools:
                known = ", ".join(self.pools) or "none"
                raise UnknownPoolError(f"{dag}.{task} requests the worker pool {pool!r}; known pools: {known}")
            return self.pools[pool]
        return next((rule.queue for rule in self.rules if rule.fits(dag, task, operator)), queue)
