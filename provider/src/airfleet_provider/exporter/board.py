"""The last facts that were read. A scrape shows them and reads nothing, so no number of scrapes loads the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from airfleet_provider.exporter.counters import Amounts, Series
from airfleet_provider.exporter.limits import Labels

# The values of gauges by metric.
Gauges = Mapping[str, Mapping[Labels, float]]


@dataclass(frozen=True, slots=True)
class CollectedFacts:
    """What one collector read, and when, by the monotonic clock."""

    read: float
    series: Series


@dataclass(slots=True)
class Board:
    """The last facts of each collector. Any thread may use it."""

    clock: Callable[[], float] = time.monotonic
    facts: dict[str, CollectedFacts] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def publish(self, collector: str, gauges: Gauges) -> None:
        """Replace the facts of a collector by gauges. What it does not name any more is no longer shown."""
        series: dict[str, dict[Labels, Amounts]] = {
            name: {labels: (value,) for labels, value in values.items()} for name, values in gauges.items()
        }
        self.publish_counters(collector, series)

    def publish_counters(self, collector: str, series: Series) -> None:
        """Replace the facts of a collector."""
        with self._lock:
            self.facts = {**self.facts, collector: CollectedFacts(self.clock(), series)}
