"""Which queue a task goes to: its own, the queue of the pool that it asks for, or that of the first rule that fits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A task asks for a pool of workers with executor_config={"airfleet": {"pool": "memory"}}.
HINT = "airfleet"


class UnknownPoolError(Exception):
    """A task asks for a pool of workers that fleet.yaml does not name."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Tasks that fit all three expressions go to the queue; an operator is named as its class is."""

    queue: str
    dag: str = ".*"
    task: str = ".*"
    operator: str = ".*"

    def fits(self, dag: str, task: str, operator: str) -> bool:
        pairs = ((self.dag, dag), (self.task, task), (self.operator, operator))
        return all(re.fullmatch(pattern, text) for pattern, text in pairs)


@dataclass(frozen=True, slots=True)
class Routing:
    """The queue of each pool, and the rules in their order."""

    pools: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> Routing:
        body = json.loads(text or "{}")
        return cls(body.get("pools", {}), tuple(Rule(**rule) for rule in body.get("rules", ())))

    def choose(
        self, *, queue: str, default: str, config: Mapping[str, Any] | None, dag: str, task: str, operator: str
    ) -> str:
        """The queue of a task; one that the task names itself stays."""
        if queue != default:
            return queue
        hint = (config or {}).get(HINT)
        pool = hint.get("pool") if isinstance(hint, Mapping) else None
        if pool is not None:
            if pool not in self.pools:
                known = ", ".join(self.pools) or "none"
                raise UnknownPoolError(f"{dag}.{task} asks for the worker pool {pool!r}; known pools: {known}")
            return self.pools[pool]
        return next((rule.queue for rule in self.rules if rule.fits(dag, task, operator)), queue)
