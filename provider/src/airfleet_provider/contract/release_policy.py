"""How many releases stay, and how a release is watched after it went live: defaults, and their form in a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

# How many of the releases that were live last, and of those that were built last, stay.
KEEP = 20


@dataclass(frozen=True, slots=True)
class WatchPolicy:
    """How long a release is watched, and how much worse than the release before it may be."""

    watch_seconds: float = 300.0
    max_failure_rate: float = 0.25
    min_task_ends: int = 10

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> WatchPolicy:
        """Return the policy of a deployment; missing values are the defaults, and unknown keys are ignored."""
        known = {one.name for one in fields(cls)}
        return cls(**{key: value for key, value in written.items() if key in known})
