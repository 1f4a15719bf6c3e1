"""All dashboards, and the events that each of them marks."""

from __future__ import annotations

from airfleet_provider.contract.dashboards.panels import Dashboard, TimelineMark
from airfleet_provider.contract.dashboards.platform import BROKER, DATABASE, FLEET, RELEASES
from airfleet_provider.contract.dashboards.tasks import DAGS, LATENCY, POOLS

MARKS = (
    TimelineMark(
        "Release",
        "changes(airfleet_release_promoted_timestamp_seconds[1m]) > 0",
        "a release of {{bundle}} went live",
    ),
    TimelineMark(
        "Fail-over", 'changes(airfleet_lease_epoch{lease="scheduler"}[1m]) > 0', "another scheduler became active"
    ),
)
DASHBOARDS: tuple[Dashboard, ...] = (FLEET, LATENCY, POOLS, DAGS, DATABASE, BROKER, RELEASES)
