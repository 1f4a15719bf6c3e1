"""The metrics of a log agent, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from airfleet_provider.contract import log_metrics as names
from airfleet_provider.contract.metrics import Kind
from airfleet_provider.log_agent.agent import Totals

CONTENT_TYPE = CONTENT_TYPE_LATEST


class _Values(Collector):
    def __init__(self, totals: Totals, failures: int, age_s: float) -> None:
        self._values = {
            names.LINES: totals.lines,
            names.BYTES: totals.bytes,
            names.CUT_BYTES: totals.cut_bytes,
            names.CUT_TRIES: totals.cut_files,
            names.LEFT_OUT: totals.left_out,
            names.FAILURES: failures,
            names.WAITING: totals.waiting_bytes,
            names.FILES: totals.files,
            names.AGE: age_s,
        }

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics with their present values."""
        for metric, value in self._values.items():
            make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            yield make(metric.name, metric.help, value=value)


def render(totals: Totals, *, failures: int, age_s: float) -> str:
    """Return the metrics of an agent and of its process."""
    registry = CollectorRegistry()
    registry.register(_Values(totals, failures, age_s))
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode()
