"""Counters and histograms that outlast a process: they are kept in the database, with how far rows were counted.

What was counted and how far is written in one transaction. So a row is counted once, whatever is killed when.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from psycopg import Connection

from airfleet_provider.agent_loops.lease import Row
from airfleet_provider.contract.metrics import METRICS, MetricKind
from airfleet_provider.contract.statements import Statements
from airfleet_provider.exporter.limits import LabelLimits, Labels

SQL = Statements(__package__, "counters")

# Of a counter or gauge one number. Of a histogram the count of each bucket, the last without a bound, then the sum.
Amounts = tuple[float, ...]
Series = Mapping[str, Mapping[Labels, Amounts]]


@dataclass(slots=True)
class Counters:
    """The values in memory, and what has changed since they were last written."""

    limits: LabelLimits
    values: dict[str, dict[Labels, Amounts]] = field(default_factory=dict)
    changed: set[tuple[str, Labels]] = field(default_factory=set)
    gone: set[tuple[str, Labels]] = field(default_factory=set)

    def add(self, name: str, *labels: str, by: float = 1.0) -> None:
        """Increase a counter."""
        shown = self.limits.admit(name, labels)
        series = self.values.setdefault(name, {})
        series[shown] = (series.get(shown, (0.0,))[0] + by,)
        self.changed.add((name, shown))

    def put(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge that outlasts the process. Beyond the limit of the metric nothing is kept."""
        shown = self.limits.admit(name, labels)
        if shown == labels:
            self.values.setdefault(name, {})[shown] = (value,)
            self.changed.add((name, shown))

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Count a value in the bucket of a histogram that it belongs to."""
        bounds = METRICS[name].buckets
        shown = self.limits.admit(name, labels)
        series = self.values.setdefault(name, {})
        amounts = list(series.get(shown, (0.0,) * (len(bounds) + 2)))
        amounts[bisect.bisect_left(bounds, value)] += 1
        amounts[-1] += value
        series[shown] = tuple(amounts)
        self.changed.add((name, shown))

    def forget(self, label: str, keep: Callable[[str], bool]) -> None:
        """Remove the series whose value of this label `keep` does not want."""
        for name, series in self.values.items():
            metric = METRICS[name]
            if label not in metric.labels:
                continue
            place = metric.labels.index(label)
            lost = [labels for labels in series if not keep(labels[place])]
            for labels in lost:
                del series[labels]
                self.changed.discard((name, labels))
                self.gone.add((name, labels))
            self.limits.retain(name, lambda labels, place=place: keep(labels[place]))  # type: ignore[misc]

    def load(self, connection: Connection[Row]) -> None:
        """Replace everything in memory by what the database keeps. What this version does not know is left there."""
        for name in self.values:
            self.limits.clear(name)
        self.values, self.changed, self.gone = {}, set(), set()
        for row in connection.execute(SQL["read"]):
            metric = METRICS.get(row["name"])
            labels, amounts = tuple(row["labels"]), tuple(row["amounts"])
            if metric is None or len(labels) != len(metric.labels):
                continue
            expected = len(metric.buckets) + 2 if metric.kind is MetricKind.HISTOGRAM else 1
            # With other buckets than before, a histogram begins again.
            if len(amounts) == expected and self.limits.admit(metric.name, labels) == labels:
                self.values.setdefault(metric.name, {})[labels] = amounts

    def save(self, connection: Connection[Row]) -> None:
        """Write what has changed. Call `note_saved` once the transaction is committed."""
        if self.gone:
            gone = [{"name": name, "labels": labels} for name, labels in self.gone]
            connection.execute(SQL["forget"], {"rows": json.dumps(gone)})
        if self.changed:
            rows = [
                {"name": name, "labels": labels, "amounts": self.values[name][labels]}
                for name, labels in sorted(self.changed)
            ]
            connection.execute(SQL["write"], {"rows": json.dumps(rows)})

    def note_saved(self) -> Series:
        """Record that everything is written; return a copy of the values that later counts do not change."""
        self.changed.clear()
        self.gone.clear()
        return {name: dict(series) for name, series in self.values.items()}
