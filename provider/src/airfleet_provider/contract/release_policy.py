"""How many releases stay, and how one is watched after it went live: the defaults, and the form in a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

# So many of the releases that went live last stay.
KEEP = 20


@dataclass(frozen=True, slots=True)
class Policy:
    """How long a release is watched, and how much worse than the one before it may be."""

    watch_seconds: float = 300.0
    max_failure_rate: float = 0.25
    min_task_ends: int = 10

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Policy:
        """The policy that a deployment was asked for with; what it does not say is the default."""
        known = {one.name for one in fields(cls)}
        return cls(**{key: value for key, value in written.items() if key in known})
