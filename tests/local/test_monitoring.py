"""The real Prometheus and Alertmanager with what exporters answer, and beside a real platform."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import ssl
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

import expositions
import prometheus_server
from airfleet.components.host_model import Encryption
from airfleet.components.hosts import certificates, monitor
from airfleet.components.model import reveal
from airfleet.errors import AirfleetError
from airfleet.runners.local import ports
from airfleet.runners.local.prometheus import find_programs
from airfleet.spec.secrets import Secret
from airfleet.workspace import certificate_authority
from airfleet_provider.contract.dashboards.catalogue import DASHBOARDS, MARKS
from airfleet_provider.contract.dashboards.panels import Panel
from airfleet_provider.contract.notification_policy import derive_webhook_token
from deadline import wait_until
from expositions import Exporters
from fleets import Platform
from places import CREDENTIALS, parse, place
from prometheus_server import JWT_SECRET, Prometheus, quicken

# What a platform on one machine has no exporter for.
ON_HOSTS = ("node_", "pg_", "haproxy_", "rabbitmq_")
# Panels without a fact: nothing failed, waits, runs or has a schedule; there is no backup, replica or release.
SHOW_NOTHING = {
    *("airfleet-dags: Failures, last hour", "airfleet-dags: Repeated tries, last hour", "airfleet-releases: Failures"),
    *("airfleet-dags: Oldest unfinished runs", "airfleet-dags: Overdue, by Dag", "airfleet-pools: By host"),
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

    wait_until(lambda: find("Watchdog", "firing"), "the watchdog", timeout_s=60)
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
            answer = httpx.request(method, url, headers=page, auth=proof, timeout=20, trust_env=False)
            assert answer.status_code == 401, (method, url)
            assert "Access-Control-Allow-Origin" not in answer.headers
    assert httpx.get(silences, auth=prometheus.login, timeout=20, trust_env=False).status_code == 200
    assert prometheus.value('up{job="prometheus"}') == prometheus.value('up{job="alertmanager"}') == 1


def test_up_with_monitor_runs_prometheus_beside_the_platform(other: Platform) -> None:
    try:
        find_programs()
    except AirfleetError as error:
        pytest.skip(f"{error}: tools/prometheus installs it")
    other.up("--monitor")
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
        wait_until(lambda: list_empty() <= SHOW_NOTHING, "data in every panel", timeout_s=240, every_s=5)
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


def test_the_servers_of_a_monitor_host_speak_tls_with_its_certificate(tmp_path: Path) -> None:
    programs = [Path("/usr/bin/prometheus"), Path("/usr/bin/prometheus-alertmanager")]
    if not all(program.exists() for program in programs):
        pytest.skip("Debian's packages are not installed: tools/prometheus installs them")
    now = datetime.now(UTC)
    authority = certificate_authority.load(certificate_authority.create("flights", now), where="here")
    issued = certificate_authority.issue(authority, "one", ["127.0.0.1"], now)
    encryption = Encryption(authority.pem, defaultdict(lambda: issued))
    where = place(parse("name: flights\nhosts: {one: {address: 127.0.0.1}}"), "one")
    where = replace(where, credentials=replace(CREDENTIALS, encryption=encryption))
    parts = (certificates.describe(where), monitor.describe_prometheus(where), monitor.describe_alertmanager(where))
    moved = dict(zip((":9090", ":9093"), (f":{port}" for port in ports.find_several(2)), strict=True))

    def move(text: str) -> str:
        """Name folders of the test, and free ports."""
        for old, new in moved.items():
            text = text.replace(old, new)
        return re.sub(r"(/etc|/var/lib)/airfleet", rf"{tmp_path}\1/airfleet", text)

    for file in (file for part in parts for file in part.files):
        target = Path(move(str(file.path)))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(quicken(move(reveal(file.content))))
    started = []
    try:
        for service in (service for part in parts for service in part.services):
            words = [move(word) for word in service.command]
            with (tmp_path / f"{service.name}.log").open("ab") as log:
                started.append(subprocess.Popen(words, stdout=log, stderr=log))
        context = ssl.create_default_context(cadata=authority.pem)
        with httpx.Client(base_url=f"https://127.0.0.1{moved[':9090']}", verify=context, trust_env=False) as client:

            def count(expr: str) -> float | None:
                try:
                    answer = client.get("/api/v1/query", params={"query": expr})
                except httpx.TransportError:
                    return None
                # It answers 503 until it has read its data.
                found = answer.json()["data"]["result"] if answer.status_code == 200 else []
                return float(found[0]["value"][1]) if found else None

            wait_until(lambda: count('up{job="prometheus"} == 1'), "Prometheus scrapes itself")
            wait_until(lambda: count('up{job="alertmanager"} == 1'), "Prometheus scrapes Alertmanager")
            wait_until(lambda: count("sum(prometheus_notifications_sent_total) > 0"), "an alert is handed over")
            assert count("sum(prometheus_notifications_errors_total)") == 0
            page = client.get("/api/v1/labels", headers={"Origin": "https://elsewhere.example"})
            assert page.status_code == 200
            assert "Access-Control-Allow-Origin" not in page.headers, "any page in a browser reads the metrics"
            # Anybody on the host reaches the port, and a silence there would hide every alert.
            for proof in (
                (),
                (tmp_path / "etc/airfleet/prometheus/host.pem", tmp_path / "etc/airfleet/prometheus/host.key"),
            ):
                known = ssl.create_default_context(cadata=authority.pem)
                if proof:
                    known.load_cert_chain(*proof)
                url = f"https://127.0.0.1{moved[':9093']}/api/v2/silences"
                with contextlib.nullcontext() if proof else pytest.raises(httpx.TransportError):
                    assert httpx.get(url, verify=known, trust_env=False).status_code == 200
            assert count('airfleet:limit:certificate_expiry_timestamp_seconds{name="host"} - time() > 0')
    finally:
        for process in started:
            process.terminate()
            process.wait(60)
