"""The metrics of a log store, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from airfleet_provider.contract import log_metrics as names
from airfleet_provider.contract.metrics import MetricKind
from airfleet_provider.log_store.keeper import Kept

CONTENT_TYPE = CONTENT_TYPE_LATEST


class _StoreValues(Collector):
    def __init__(self, kept: Kept) -> None:
        self._values = {
            names.STORE_LINES: kept.lines,
            names.STORE_LEFT_OUT: kept.left_out,
            names.STORE_COMMITS: kept.commits,
            names.STORE_FAILURES: kept.failures,
            names.STORE_FAILING: int(bool(kept.failing)),
        }

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics with their present values."""
        for metric, value in self._values.items():
            make = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
            yield make(metric.name, metric.help, value=value)


def render(kept: Kept) -> str:
    """Return the metrics of a store and of its process."""
    registry = CollectorRegistry()
    registry.register(_StoreValues(kept))
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode()
