"""What the agents process runs for alerts, by its configuration."""

from __future__ import annotations

import logging
import threading

import psycopg
import pytest

from airfleet_provider.agent_loops.lease import AgentsLease
from airfleet_provider.agent_loops.loop import Context, TimedConnection
from airfleet_provider.contract.notification_policy import FailureRule, NotificationPolicy, Receiver, ReceiverType
from airfleet_provider.notifications import channels, outage
from airfleet_provider.notifications.loops import make_loops
from airfleet_provider.notifications.messages import compose
from invented_alerts import make_entry
from receivers import serve_http


def list_names(policy: NotificationPolicy) -> list[str]:
    return [one.name for one in make_loops({"host": "web1", "notifications": policy.to_json()})]


def test_there_is_a_loop_for_what_is_configured() -> None:
    assert [one.name for one in make_loops({})] == ["notifier", "failures"]
    assert list_names(NotificationPolicy()) == ["notifier", "failures"]
    whole = NotificationPolicy(failures=(FailureRule(),), watchdog_s=60.0, ping_url="https://outside.example.com")
    assert list_names(whole) == ["notifier", "failures", "watchdog", "ping"]
    assert list_names(NotificationPolicy(receivers=(Receiver("one", ReceiverType.SLACK),))) == [
        "notifier",
        "outage",
        "failures",
    ]


def test_no_log_has_the_address_of_a_webhook(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tuple(make_loops({}))
    with serve_http() as http:
        receiver = Receiver("one", ReceiverType.SLACK, url=f"{http.url}/services/S3CRET")
        channels.send(compose((make_entry(),), NotificationPolicy(), receiver, now=0.0, is_repeated=False), receiver)
        assert len(http.taken) == 1
    assert "S3CRET" not in caplog.text


def test_a_database_that_refuses_connections_is_reported_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "AFTER_S", 0.0)

    def refuse(name: str) -> TimedConnection:
        raise psycopg.OperationalError("connection refused")

    with serve_http() as http:
        policy = NotificationPolicy(receivers=(Receiver("hook", ReceiverType.WEBHOOK, url=http.url),))
        config = {"host": "web1", "notifications": policy.to_json()}
        (loop,) = (one for one in make_loops(config) if one.name == "outage")
        assert not loop.only_active
        context = Context(loop.name, config, AgentsLease("web1"), threading.Event(), refuse)
        loop.once(context)
        loop.once(context)
        assert [one.body["alerts"][0]["name"] for one in http.taken] == ["MetadataDatabaseDown"]
