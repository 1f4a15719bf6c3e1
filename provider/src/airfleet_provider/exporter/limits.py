"""Keeps the number of series below each metric's limit, whatever names Dags, queues and pools have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from airfleet_provider.contract.metrics import METRICS, OTHER

Labels = tuple[str, ...]
# A value may be as long as an id in Airflow's tables.
LONGEST = 250
# The combinations beyond a limit are remembered only to be counted, so not without end.
MOST_REMEMBERED = 20_000


@dataclass(slots=True)
class LabelLimits:
    """Which label values are exported as they are. Whoever came first keeps its place until it is forgotten.

    The methods may be called by one thread at a time for one metric.
    """

    admitted: dict[str, set[Labels]] = field(default_factory=dict)
    refused: dict[str, set[Labels]] = field(default_factory=dict)

    def admit(self, name: str, labels: Labels) -> Labels:
        """Return the labels to export: the given ones, or `OTHER` for all if the metric is at its limit."""
        metric = METRICS[name]
        if not metric.labels:
            return labels
        labels = tuple(label[:LONGEST] for label in labels)
        known = self.admitted.setdefault(name, set())
        if labels in known:
            return labels
        # One place is left for `OTHER` itself.
        if len(known) < metric.most - 1:
            known.add(labels)
            return labels
        refused = self.refused.setdefault(name, set())
        if len(refused) < MOST_REMEMBERED:
            refused.add(labels)
        return (OTHER,) * len(metric.labels)

    def fold(
        self, name: str, series: Mapping[Labels, float], choose: Callable[[float, float], float] = max
    ) -> dict[Labels, float]:
        """Return the series of a gauge to export. `choose` makes one value of two beyond the limit.

        Combinations that are not among the series give up their places.
        """
        self.retain(name, lambda labels: labels in series)
        self.refused.pop(name, None)
        folded: dict[Labels, float] = {}
        for labels, value in series.items():
            shown = self.admit(name, labels)
            folded[shown] = choose(folded[shown], value) if shown in folded else value
        return folded

    def retain(self, name: str, keep: Callable[[Labels], bool]) -> None:
        """Forget the combinations that `keep` does not want, so that others get their places."""
        for sets in (self.admitted, self.refused):
            if known := sets.get(name):
                sets[name] = {labels for labels in known if keep(labels)}

    def clear(self, name: str) -> None:
        """Forget all combinations of a metric."""
        self.admitted.pop(name, None)
        self.refused.pop(name, None)

    def count_refused(self) -> dict[Labels, float]:
        """Return the number of combinations that are exported as `OTHER`, by metric."""
        return {(name,): float(len(refused)) for name, refused in list(self.refused.items()) if refused}
