"""The metrics of a log agent, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from airfleet_provider.contract import log_metrics as names
from airfleet_provider.contract import metrics
from airfleet_provider.contract.metrics import MetricKind
from airfleet_provider.log_agent.agent import AgentTotals

CONTENT_TYPE = CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an agent has come with one store: what it did, how often it failed, and when it last did not."""

    store: str
    totals: AgentTotals
    failures: int
    age_s: float


class _AgentValues(Collector):
    def __init__(self, all_progress: Sequence[Progress]) -> None:
        self._progress = all_progress

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics with their present values."""
        for metric, find in _VALUES.items():
            make = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
            family = make(metric.name, metric.help, labels=metric.labels)
            for one in self._progress:
                family.add_metric([one.store], find(one))
            yield family


_VALUES: Mapping[metrics.Metric, Callable[[Progress], float]] = {
    names.LINES: lambda one: one.totals.lines,
    names.BYTES: lambda one: one.totals.bytes,
    names.CUT_BYTES: lambda one: one.totals.cut_bytes,
    names.CUT_TRIES: lambda one: one.totals.cut_files,
    names.LEFT_OUT: lambda one: one.totals.left_out,
    names.FAILURES: lambda one: one.failures,
    names.WAITING: lambda one: one.totals.waiting_bytes,
    names.FILES: lambda one: one.totals.files,
    names.AGE: lambda one: one.age_s,
}


def render(all_progress: Sequence[Progress]) -> str:
    """Return the metrics of an agent and of its process."""
    registry = CollectorRegistry()
    registry.register(_AgentValues(all_progress))
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode()
