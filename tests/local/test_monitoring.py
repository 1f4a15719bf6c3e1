"""The real Prometheus and Alertmanager with what exporters answer, and beside a real platform."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import expositions
import prometheus_server
import receivers
from airfleet.errors import AirfleetError
from airfleet.runners.local.prometheus import find_programs
from airfleet.spec.secrets import Secret
from airfleet_provider.contract.dashboards.catalogue import DASHBOARDS, MARKS
from airfleet_provider.contract.dashboards.panels import Panel
from airfleet_provider.contract.notification_policy import derive_webhook_token
from alert_drills.drill import Drill, run_together
from alert_drills.local_bed import LocalBed
from alert_drills.processes import break_config, freeze_api_server
from deadline import PATIENCE_S, wait_until
from expositions import Exporters
from fleets import Platform
from prometheus_server import JWT_SECRET, Prometheus, quicken

# What a platform on one machine has no exporter for.
ON_HOSTS = ("node_", "pg_", "haproxy_", "rabbitmq_", "etcd_", "airfleet_pooler_")
# Panels without a fact: nothing failed, waits, runs or has a schedule; there is no promise, backup, replica or release,
# no backend of OpenLineage, and no record of a task.
SHOW_NOTHING = {
    *("airfleet-dags: Failures, last hour", "airfleet-dags: Repeated tries, last hour", "airfleet-releases: Failures"),
    *("airfleet-dags: Oldest unfinished runs", "airfleet-dags: Overdue, by Dag", "airfleet-pools: By host"),
    *("airfleet-dags: Promises at risk or late", "airfleet-dags: Promises kept, last 30 days"),
    *("airfleet-dags: Lineage that waits", "airfleet-dags: Records on hosts"),
    *("airfleet-database: Age of the backup", "airfleet-database: Replicas"),
    *("airfleet-releases: Age of the live release", "airfleet-releases: Live releases"),
}
PANELS = [(board, panel) for board in DASHBOARDS for panel in board.panels]


@pytest.fixture(scope="module")
def exporters() -> Iterator[Exporters]:
    with expositions.serve() as served:
        yield served


@pytest.fixture(scope="module")
def prometheus(exporters: Exporters) -> Iterator[Prometheus]:
    with prometheus_server.serve(exporters.port) as served:
        wait_until(lambda: served.value("airfleet:task_start:bad_ratio6h"), "rules of the slow group")
        wait_until(lambda: served.query("airfleet:task_start:bad_ratio1d"), "windows of days")
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

    wait_until(lambda: find("Watchdog", "firing"), "the watchdog")
    assert not find("SchedulerDown", "firing")
    exporters.gauges["airfleet_scheduler_loop_age_seconds"] = 90.0
    wait_until(lambda: find("SchedulerDown", "firing"), "the alert")
    exporters.gauges["airfleet_scheduler_loop_age_seconds"] = 1.0
    wait_until(lambda: find("SchedulerDown", "resolved"), "the end of the alert")
    [alert, *_] = [alert for alert in exporters.alerts if alert["labels"]["alertname"] == "SchedulerDown"]
    assert alert["labels"]["severity"] == "critical"
    assert alert["annotations"]["first_command"] == "airfleet status"
    assert exporters.tokens == {f"Bearer {derive_webhook_token(JWT_SECRET.reveal())}"}


def test_who_does_not_know_the_password_reads_and_silences_nothing(prometheus: Prometheus) -> None:
    """Another user of the machine reaches the loopback, and a page in a browser does too."""
    silences = f"{prometheus.alertmanager}/api/v2/silences"
    page = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for method, url in (
        ("GET", f"{prometheus.url}/api/v1/labels"),
        ("GET", silences),
        ("POST", silences),
        ("OPTIONS", silences),
    ):
        for proof in (None, (prometheus.login[0], "another")):
            answer = httpx.request(method, url, headers=page, auth=proof, timeout=PATIENCE_S, trust_env=False)
            assert answer.status_code == 401, (method, url)
            assert "Access-Control-Allow-Origin" not in answer.headers
    assert httpx.get(silences, auth=prometheus.login, timeout=PATIENCE_S, trust_env=False).status_code == 200
    assert prometheus.value('up{job="prometheus"}') == prometheus.value('up{job="alertmanager"}') == 1


NOTIFICATIONS = """
notifications:
  receivers:
    mail:
      {{type: email, to: [team@example.com], from: a@example.com, host: 127.0.0.1, port: {mail}, encryption: none}}
    hook: {{type: webhook, url: "{hook}"}}
"""


def test_up_with_monitor_runs_prometheus_beside_the_platform(other: Platform, tmp_path: Path) -> None:
    try:
        find_programs()
    except AirfleetError as error:
        pytest.skip(f"{error}: tools/prometheus installs it")
    with receivers.serve_http() as http, receivers.serve_mail(tmp_path, is_encrypted=False) as mail:
        fleet = other.project / "fleet.yaml"
        fleet.write_text(fleet.read_text() + NOTIFICATIONS.format(mail=mail.port, hook=http.url))
        other.up("--monitor")
        look_at_panels(other)
        break_and_heal(LocalBed(other, tmp_path, mail, http))


def break_and_heal(bed: LocalBed) -> None:
    """The alerts that fire within seconds reach a mail server and an HTTP server, and so do their ends."""
    bed.write_rules()
    bed.watcher.start()
    try:
        drills = (
            Drill(("ComponentDown",), "a process that hangs", freeze_api_server),
            Drill(("RulesFail",), "a configuration that is none", break_config),
        )
        outcomes = run_together(bed, drills)
    finally:
        bed.watcher.stop()
    assert [one.to_json() for one in outcomes if not one.is_drilled] == []


def look_at_panels(other: Platform) -> None:
    snapshot = other.state.read_snapshot()
    assert snapshot
    password = Secret((other.state.secrets / "monitor_password").read_text().strip())
    [(served, pid)] = [
        (Prometheus(one.url, password), one.pid) for one in snapshot.processes if one.name == "prometheus"
    ]
    wait_until(lambda: served.value('up{job="agents"}') == 1, "the agents are scraped")
    wait_until(lambda: served.value('up{job="alertmanager"}') == 1, "Alertmanager is scraped")
    wait_until(lambda: served.value("airfleet_agents_active") == 1, "a metric of the agents")
    for path in (other.state.root / "prometheus").rglob("*.y*ml"):
        path.write_text(quicken(path.read_text()))
    assert pid
    os.kill(pid, signal.SIGHUP)  # it reads them again
    assert (other.state.root / "prometheus" / "grafana" / "boards" / "airfleet-fleet.json").exists()
    run_twice(other, served)
    asked = {
        f"{board.name}: {panel.title}": panel
        for board, panel in PANELS
        if not any(name in query.expr for query in panel.queries for name in ON_HOSTS)
    }
    assert len(asked) > 50

    def list_empty() -> set[str]:
        return {name for name, panel in asked.items() if not all(served.query(query.expr) for query in panel.queries)}

    with contextlib.suppress(AssertionError):  # the next line shows which panels are empty
        wait_until(lambda: list_empty() <= SHOW_NOTHING, "data in every panel", every_s=5)
    left = sorted(list_empty() - SHOW_NOTHING)
    assert not left, ", ".join(left)


def run_twice(platform: Platform, served: Prometheus) -> None:
    """Run tasks until a counter has grown: its first value is no growth for Prometheus."""

    def count() -> float:
        return served.value("sum(airfleet_task_start_seconds_count)") or 0.0

    for _ in range(2):
        before = count()
        assert platform.succeeds("quick")
        wait_until(lambda before=before: count() > before, "a start is counted")  # type: ignore[misc]
