"""The real Prometheus and Alertmanager with what exporters answer, and beside a real platform."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import expositions
import prometheus_server
from airfleet.errors import AirfleetError
from airfleet.runners.local.prometheus import find_programs
from airfleet_provider.contract.dashboards.catalogue import DASHBOARDS, MARKS
from airfleet_provider.contract.dashboards.panels import Panel
from airfleet_provider.contract.notification_policy import derive_webhook_token
from deadline import wait_until
from expositions import Exporters
from fleets import Platform
from prometheus_server import SECRET_KEY, Prometheus

PANELS = [(board, panel) for board in DASHBOARDS for panel in board.panels]
# What a platform on one machine has no exporter for.
ON_HOSTS = ("node_", "pg_", "haproxy_", "rabbitmq_")


@pytest.fixture(scope="module")
def exporters() -> Iterator[Exporters]:
    with expositions.serve() as served:
        yield served


@pytest.fixture(scope="module")
def prometheus(exporters: Exporters) -> Iterator[Prometheus]:
    with prometheus_server.serve(exporters.port) as served:
        wait_until(lambda: served.value("airfleet:task_start:bad_ratio6h"), "rules of the slow group", timeout_s=180)
        wait_until(lambda: served.query("airfleet:task_start:bad_ratio1d"), "windows of days", timeout_s=600)
        yield served


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=[f"{board.name}-{panel.title}" for board, panel in PANELS])
def test_every_query_of_every_panel_has_data(prometheus: Prometheus, board: object, panel: Panel) -> None:
    for query in panel.queries:
        found = prometheus.query(query.expr)
        assert found, query.expr
        assert any(series["value"][1] != "NaN" for series in found), query.expr


def test_the_marks_of_releases_and_fail_overs_are_queries(prometheus: Prometheus) -> None:
    for mark in MARKS:
        prometheus.query(mark.expr)


def test_a_fact_about_the_platform_has_no_label_of_the_agents(prometheus: Prometheus) -> None:
    [depth, *_] = prometheus.query('airfleet_queue_depth{queue="default"}')
    assert set(depth["metric"]) == {"__name__", "queue", "job"}
    assert {series["metric"]["host"] for series in prometheus.query("airfleet_component_up")} == {"one-host"}
    assert prometheus.query('airfleet_agents_active{host="test"}')


def test_an_alert_reaches_the_agents_with_their_token_and_so_does_its_end(
    prometheus: Prometheus, exporters: Exporters
) -> None:
    def find(name: str, status: str) -> bool:
        return any(alert["labels"]["alertname"] == name and alert["status"] == status for alert in exporters.alerts)

    wait_until(lambda: find("Watchdog", "firing"), "the watchdog", timeout_s=60)
    assert not find("SchedulerDown", "firing")
    exporters.gauges["airfleet_scheduler_loop_age_seconds"] = 90.0
    wait_until(lambda: find("SchedulerDown", "firing"), "the alert", timeout_s=120)
    exporters.gauges["airfleet_scheduler_loop_age_seconds"] = 1.0
    wait_until(lambda: find("SchedulerDown", "resolved"), "the end of the alert", timeout_s=120)
    [alert, *_] = [alert for alert in exporters.alerts if alert["labels"]["alertname"] == "SchedulerDown"]
    assert alert["labels"]["severity"] == "critical"
    assert alert["annotations"]["first_command"] == "airfleet status"
    assert exporters.tokens == {f"Bearer {derive_webhook_token(SECRET_KEY.reveal())}"}


def test_up_with_monitor_runs_prometheus_beside_the_platform(other: Platform) -> None:
    try:
        find_programs()
    except AirfleetError as error:
        pytest.skip(f"{error}: tools/prometheus installs it")
    other.up("--monitor")
    processes = {process["name"]: process for process in other.status()["processes"]}
    served = Prometheus(processes["prometheus"]["url"])
    wait_until(lambda: served.value('up{job="agents"}') == 1, "the agents are scraped", timeout_s=120)
    assert served.value('up{job="alertmanager"}') is not None
    wait_until(lambda: served.value("airfleet_agents_active") == 1, "a metric of the agents", timeout_s=120)
    assert (other.state.root / "prometheus" / "grafana" / "boards" / "airfleet-fleet.json").exists()
