"""Shows the board in the formats of Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import LoopThread
from airfleet_provider.agent_loops.server import HttpAnswer
from airfleet_provider.contract.metrics import METRICS, MetricKind
from airfleet_provider.exporter.board import Board
from airfleet_provider.exporter.counters import Amounts, Series
from airfleet_provider.exporter.limits import LabelLimits, Labels

# Facts that are older than this many intervals of their collector, and older than a minute, are not shown any more: a
# value that stands still looks as if all were well.
STALE_INTERVALS, STALE_S = 4.0, 60.0
# The lease is renewed every few seconds. Without a success for so long, the database does not answer.
UP_S = 10.0
# An answer is given again for so long, however many ask.
KEPT_S = 1.0

Gauges = dict[str, dict[Labels, float]]


class PlatformMetrics(Collector):
    """Everything that this process exports."""

    def __init__(
        self, board: Board, limits: LabelLimits, threads: Sequence[LoopThread], lease: AgentsLease, version: str
    ) -> None:
        self._board = board
        self._limits = limits
        self._threads = threads
        self._lease = lease
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics with their present values."""
        shown: dict[str, dict[Labels, Amounts]] = {}
        if self._lease.epoch is not None:
            for series in self._list_fresh():
                for name, values in series.items():
                    shown.setdefault(name, {}).update(values)
        for name, gauges in self._describe_process().items():
            shown[name] = {labels: (value,) for labels, value in gauges.items()}
        count = sum(
            len(values) * (len(METRICS[name].buckets) + 3 if METRICS[name].buckets else 1)
            for name, values in shown.items()
        )
        shown["airfleet_metrics_series"] = {(): (float(count + 1),)}
        for name, values in shown.items():
            yield _make_family(name, values)

    def _list_fresh(self) -> Iterator[Series]:
        for collector, facts in self._board.facts.items():
            limit = max(STALE_S, STALE_INTERVALS * self._find_interval(collector))
            if self._board.clock() - facts.read <= limit:
                yield facts.series

    def _find_interval(self, collector: str) -> float:
        return next((one.loop.every_s for one in self._threads if one.loop.name == name_loop(collector)), 0.0)

    def _describe_process(self) -> Gauges:
        now = self._board.clock()
        states = [(one.loop.name, one) for one in self._threads]
        lease, *_ = self._threads
        gauges: Gauges = {
            "airfleet_build_info": {(self._version,): 1.0},
            "airfleet_agents_active": {(): float(self._lease.epoch is not None)},
            "airfleet_database_up": {(): float(_is_up(lease))},
            "airfleet_agents_loop_runs_total": {(name,): float(one.state.runs) for name, one in states},
            "airfleet_agents_loop_failures_total": {(name,): float(one.state.failures) for name, one in states},
            # A loop that waits for its turn as the active one is not late.
            "airfleet_agents_loop_age_seconds": {
                (name,): 0.0 if one.state.is_waiting else max(0.0, one.read_age()) for name, one in states
            },
            "airfleet_agents_loop_seconds_total": {(name,): one.state.seconds for name, one in states},
            "airfleet_agents_loop_database_seconds_total": {(name,): one.context.database_s for name, one in states},
            "airfleet_metrics_labels_dropped": self._limits.count_refused(),
        }
        if self._lease.epoch is not None:
            facts = self._board.facts.items()
            gauges["airfleet_metrics_age_seconds"] = {(name,): max(0.0, now - one.read) for name, one in facts}
        return gauges


def _is_up(lease: LoopThread) -> bool:
    """Return whether the database answers. A server that hangs fails no statement, so the time counts too."""
    return lease.state.succeeded is not None and not lease.state.consecutive and lease.read_age() < UP_S


def name_loop(collector: str) -> str:
    """Return the name of the loop of a collector."""
    return f"metrics-{collector}"


def _make_family(name: str, values: dict[Labels, Amounts]) -> Metric:
    metric = METRICS[name]
    family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
    match metric.kind:
        case MetricKind.COUNTER:
            family = CounterMetricFamily(name, metric.help, labels=metric.labels)
        case MetricKind.GAUGE:
            family = GaugeMetricFamily(name, metric.help, labels=metric.labels)
        case MetricKind.HISTOGRAM:
            family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
    for labels, amounts in values.items():
        if isinstance(family, HistogramMetricFamily):
            family.add_metric(labels, _accumulate(metric.buckets, amounts), amounts[-1])
        else:
            family.add_metric(labels, amounts[0])
    return family


def _accumulate(bounds: Sequence[float], amounts: Amounts) -> list[tuple[str, float]]:
    """Return the buckets as Prometheus wants them: each counts all values up to its bound."""
    buckets, total = [], 0.0
    for bound, count in zip((*map(str, bounds), "+Inf"), amounts[:-1], strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


class MetricsRoute:
    """Answers `/metrics`. Requests at nearly the same time get the same text."""

    def __init__(self, collector: PlatformMetrics, clock: Callable[[], float]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, HttpAnswer]] = {}

    def __call__(self, accept: str) -> HttpAnswer:
        encode, kind = choose_encoder(accept)
        with self._lock:
            made, answer = self._kept.get(kind, (float("-inf"), None))
            if answer is None or self._clock() - made > KEPT_S:
                answer = HttpAnswer(HTTPStatus.OK, kind, encode(self._registry))
                self._kept = (
                    {kind: (self._clock(), answer)}
                    if len(self._kept) > 4
                    else {**self._kept, kind: (self._clock(), answer)}
                )
            return answer
