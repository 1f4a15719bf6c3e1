"""The queues of the fleet, and which of them become label values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airfleet_provider.contract.metrics import OTHER


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues that workers serve. With `is_open`, tasks of any queue run, as with LocalExecutor."""

    names: tuple[str, ...] = ()
    is_open: bool = True

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Queues:
        return cls(tuple(value.get("names", ())), bool(value.get("is_open", True)))

    def label(self, name: str | None) -> str:
        """Return the label value of a queue. A Dag may name any queue; one that nobody serves is not worth a series."""
        return name if name and (self.is_open or name in self.names) else OTHER
