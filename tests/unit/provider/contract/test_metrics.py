"""The table of metrics follows Prometheus' conventions, and its limits keep the number of series below the most."""

from __future__ import annotations

import re

import pytest

from airfleet_provider.contract.metrics import GROUPS, METRICS, MOST_SERIES, Metric, MetricKind

ALL = [metric for _, group in GROUPS for metric in group]


def test_each_name_is_there_once() -> None:
    assert len(ALL) == len(METRICS)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_a_name_says_what_it_is(metric: Metric) -> None:
    assert re.fullmatch(r"airfleet_[a-z][a-z_]*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
    assert bool(metric.buckets) == (metric.kind is MetricKind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert (metric.most > 1) == (metric.labels not in ((), ("version",)))
    assert metric.help.endswith(".")


def test_no_fleet_has_more_series_than_prometheus_should_store() -> None:
    assert sum(metric.series for metric in ALL) <= MOST_SERIES
