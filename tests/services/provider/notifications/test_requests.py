"""Reports of Alertmanager and acknowledgements over HTTP, as the agents' server takes them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from airfleet.runners.local import ports
from airfleet_provider.agent_loops.server import Request
from airfleet_provider.agent_loops.server import Server as HttpServer
from airfleet_provider.contract import alert_links, alert_schema
from airfleet_provider.contract.alert_links import Capability
from airfleet_provider.contract.notification_policy import NotificationPolicy
from airfleet_provider.notifications import watchdog
from airfleet_provider.notifications.requests import AlertRequests
from deadline import PATIENCE_S
from receivers import Answer, serve_http
from servers import Server

POLICY = NotificationPolicy(link_key="k3y", webhook_tokens=("new", "former"))
NOW = 1_800_000_000.0


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    server.query("TRUNCATE airfleet.alert, airfleet.heartbeat CASCADE")
    connect = partial(psycopg.connect, server.dsn, autocommit=True, row_factory=dict_row)
    port = ports.find_free()
    http = HttpServer("127.0.0.1", port, {}, AlertRequests(POLICY, connect, wall=lambda: NOW).handlers)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as one:
        yield one
    http.shutdown()
    http.server_close()


def make_report(
    status: str, *, name: str = "DiskFull", begun: str = "2026-11-24T12:00:00.123456789Z"
) -> Mapping[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": name, "severity": "critical", "instance": "web1:9100"},
        "annotations": {"summary": "web1: 95 % full", "description": "Act.", "runbook_url": "https://example.com/disk"},
        "startsAt": begun,
        "endsAt": "0001-01-01T00:00:00Z" if status == "firing" else "2026-11-24T12:05:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": f"f{name}",
    }


def report(client: httpx.Client, *alerts: Mapping[str, Any], token: str = "new") -> httpx.Response:  # noqa: S107
    body = {"version": "4", "receiver": "airfleet", "status": "firing", "alerts": list(alerts)}
    return client.post("/alerts", json=body, headers={"Authorization": f"Bearer {token}"})


def read_alerts(server: Server) -> list[tuple[Any, ...]]:
    return server.query("SELECT name, severity, summary, resolved_at IS NULL FROM airfleet.alert ORDER BY id")


def test_a_report_is_an_alert_once_it_is_answered(client: httpx.Client, server: Server) -> None:
    assert report(client, make_report("firing")).status_code == 200
    assert read_alerts(server) == [("DiskFull", "critical", "web1: 95 % full", True)]
    assert server.query("SELECT source, labels, runbook FROM airfleet.alert") == [
        ("prometheus", {"instance": "web1:9100"}, "https://example.com/disk")
    ]


def test_a_pair_of_alertmanagers_and_late_repetitions_change_nothing(client: httpx.Client, server: Server) -> None:
    for token in ("new", "former"):
        report(client, make_report("firing"), token=token)
    for status in ("resolved", "resolved", "firing"):
        report(client, make_report(status))
    assert read_alerts(server) == [("DiskFull", "critical", "web1: 95 % full", False)]


def test_what_fired_and_healed_while_nobody_answered_is_an_alert_that_has_resolved(
    client: httpx.Client, server: Server
) -> None:
    report(client, make_report("resolved"))
    assert read_alerts(server) == [("DiskFull", "critical", "web1: 95 % full", False)]


@pytest.mark.parametrize("token", ["wrong", "néw", "k3y"])
def test_without_the_token_nothing_is_taken(client: httpx.Client, server: Server, token: str) -> None:
    body = json.dumps({"alerts": [make_report("firing")]})
    answer = client.post("/alerts", content=body, headers={b"Authorization": f"Bearer {token}".encode()})
    assert answer.status_code == 401
    assert read_alerts(server) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"alerts": [{}]}', b'{"alerts": 7}', b'{"alerts": [null]}'])
def test_what_is_no_report_is_refused(client: httpx.Client, body: bytes) -> None:
    assert client.post("/alerts", content=body, headers={"Authorization": "Bearer new"}).status_code == 400


def test_during_an_outage_of_the_database_alertmanager_is_told_to_come_again(
    client: httpx.Client, server: Server
) -> None:
    server.stop()
    try:
        assert report(client, make_report("firing")).status_code == 503
    finally:
        server.start()
    assert report(client, make_report("firing")).status_code == 200


def test_the_watchdog_is_a_signal_and_no_alert(client: httpx.Client, server: Server) -> None:
    report(client, make_report("firing", name="Watchdog"))
    assert read_alerts(server) == []
    assert server.query("SELECT name FROM airfleet.heartbeat") == [("watchdog",)]


def test_a_silent_watchdog_is_an_alert_until_it_is_back(client: httpx.Client, server: Server) -> None:
    with psycopg.connect(server.dsn, autocommit=True, row_factory=dict_row) as connection:
        assert not watchdog.check(connection, 180.0)
        connection.execute("UPDATE airfleet.heartbeat SET seen_at = now() - interval '4 min'")
        assert watchdog.check(connection, 180.0)
        assert watchdog.check(connection, 180.0)
        summary = "the watchdog alert of Prometheus has not arrived for 4 minutes"
        assert read_alerts(server) == [("MonitoringSilent", "critical", summary, True)]
        report(client, make_report("firing", name="Watchdog"))
        assert not watchdog.check(connection, 180.0)
        assert read_alerts(server) == [("MonitoringSilent", "critical", summary, False)]


def test_the_ping_stops_when_notifications_do_not_get_through(server: Server) -> None:
    with psycopg.connect(server.dsn, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("TRUNCATE airfleet.notification")
        assert watchdog.is_alerting(connection)
        connection.execute(
            "INSERT INTO airfleet.notification (key, receiver, kind, due_at)"
            " VALUES ('t', 'team', 'test', now() - interval '1 h')"
        )
        assert not watchdog.is_alerting(connection)
        connection.execute("TRUNCATE airfleet.notification")


def test_a_ping_that_fails_does_not_name_its_url() -> None:
    with serve_http() as outside:
        watchdog.ping(f"{outside.url}/ping/S3CRET")
        assert outside.requests[0].path == "/ping/S3CRET"
        outside.answers.append(Answer(404))
        with pytest.raises(watchdog.PingError, match="404") as caught:
            watchdog.ping(f"{outside.url}/ping/S3CRET")
        assert "S3CRET" not in str(caught.value)
        outside.stop()
        with pytest.raises(watchdog.PingError) as caught:
            watchdog.ping(f"{outside.url}/ping/S3CRET")
        assert "S3CRET" not in str(caught.value)


def fire(server: Server) -> int:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        number = alert_schema.raise_alert(
            connection,
            fingerprint="x",
            source="test",
            name="<b>Disk</b>",
            severity="critical",
            summary="<script>alert(1)</script>",
        )
    assert number
    return number


def count_acknowledgements(server: Server) -> list[tuple[Any, ...]]:
    return server.query("SELECT alert, actor, via FROM airfleet.acknowledgement")


def test_only_the_button_behind_the_link_acknowledges(client: httpx.Client, server: Server) -> None:
    number = fire(server)
    link = alert_links.link_to_acknowledge("", alert_links.sign(Capability(number, "team"), "k3y", now=NOW))
    page = client.get(link)
    assert page.status_code == 200
    assert "<script>" not in page.text
    assert "&lt;script&gt;" in page.text
    assert 'method="post"' in page.text
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert count_acknowledgements(server) == []
    done = client.post(link, data={"name": "Ada <x>"})
    assert done.status_code == 200
    assert count_acknowledgements(server) == [(number, "Ada <x> (team)", "link")]
    assert "Ada &lt;x&gt; (team) has acknowledged" in client.get(link).text


def test_a_link_that_is_not_signed_costs_no_connection_to_the_database() -> None:
    """Everybody who reaches the port may send one, as often as he likes."""

    def connect() -> psycopg.Connection[Any]:
        raise AssertionError("a connection for a stranger")

    handlers = AlertRequests(POLICY, connect, wall=lambda: NOW).handlers
    for method in ("GET", "POST"):
        answer = handlers[method, f"{alert_links.PATH}/"](Request("token=x", {}, b""))
        assert answer.status == 403


def test_a_link_that_is_wrong_or_old_acknowledges_nothing(client: httpx.Client, server: Server) -> None:
    number = fire(server)
    old = alert_links.sign(Capability(number, "team"), "k3y", now=NOW - alert_links.VALID_S - 5)
    other = alert_links.sign(Capability(number, "team"), "other", now=NOW)
    for token in (old, other, "", "x"):
        assert client.post(alert_links.link_to_acknowledge("", token)).status_code == 403
    gone = alert_links.sign(Capability(number + 1, "team"), "k3y", now=NOW)
    assert client.post(alert_links.link_to_acknowledge("", gone)).status_code == 404
    assert count_acknowledgements(server) == []
