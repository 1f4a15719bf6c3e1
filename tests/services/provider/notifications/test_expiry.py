"""Alerts of Prometheus whose end never arrives, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import dict_row

from airfleet.components.monitoring.alertmanager import GROUP_INTERVAL_S, REPEAT_S
from airfleet_provider.notifications import alertmanager, expiry, watchdog
from airfleet_provider.notifications.alertmanager import WATCHDOG_NAME, AlertReport
from airfleet_provider.notifications.expiry import UNREPORTED_S, UNWATCHED_S, end_unasserted
from servers import Server

Row = dict[str, Any]
BEGUN = datetime.now(UTC) - timedelta(days=3)


class Monitoring:
    """Alertmanager's reports. `wait` lets time pass for everything that is written."""

    def __init__(self, connection: Connection[Row]) -> None:
        self.connection = connection

    def report(self, name: str, *, is_firing: bool = True) -> None:
        end = None if is_firing else datetime.now(UTC)
        one = AlertReport(f"prometheus:{name}", name, is_firing, "critical", {}, {}, BEGUN, end)
        alertmanager.record(self.connection, (one,))

    def wait(self, seconds: float) -> None:
        moved = {"s": seconds}
        self.connection.execute("UPDATE airfleet.alert SET seen_at = seen_at - make_interval(secs => %(s)s)", moved)
        self.connection.execute(
            "UPDATE airfleet.heartbeat SET seen_at = seen_at - make_interval(secs => %(s)s),"
            " since = since - make_interval(secs => %(s)s)",
            moved,
        )

    def work(self, seconds: float, *firing: str) -> None:
        """Let time pass in which the watchdog arrives every minute, and what fires every hour."""
        for minute in range(int(seconds // 60)):
            self.wait(60)
            self.report(WATCHDOG_NAME)
            for name in firing if minute % 60 == 0 else ():
                self.report(name)

    def look(self, seconds: float) -> int:
        """Let time pass in which the agents are there and nothing is reported; return how many alerts have ended."""
        ended = 0
        for _ in range(int(seconds // 240)):
            self.wait(240)
            ended += end_unasserted(self.connection, is_watched=False)
        return ended

    def list_open(self) -> list[str]:
        rows = self.connection.execute("SELECT name FROM airfleet.alert WHERE resolved_at IS NULL ORDER BY name")
        return [row["name"] for row in rows]


@pytest.fixture
def monitoring(server: Server) -> Iterator[Monitoring]:
    server.query("TRUNCATE airfleet.alert, airfleet.heartbeat CASCADE")
    with closing(psycopg.connect(server.dsn, autocommit=True, row_factory=dict_row)) as connection:
        yield Monitoring(connection)


def test_an_alert_ends_when_alertmanager_reports_others_and_not_it(monitoring: Monitoring) -> None:
    monitoring.report(WATCHDOG_NAME)
    monitoring.report("AgentsDown")
    monitoring.report("HostDown")
    monitoring.work(UNREPORTED_S - 120, "HostDown")
    assert end_unasserted(monitoring.connection, is_watched=True) == 0
    monitoring.work(240, "HostDown")
    assert end_unasserted(monitoring.connection, is_watched=True) == 1
    assert monitoring.list_open() == ["HostDown"]
    [row] = monitoring.connection.execute(
        "SELECT ended_by, end_note FROM airfleet.alert WHERE ended_by <> ''"
    ).fetchall()
    assert row["ended_by"] == "airfleet"
    assert row["end_note"].startswith("Alertmanager has not reported it since ")


def test_an_alert_that_was_hidden_by_another_and_still_fires_begins_again(monitoring: Monitoring) -> None:
    monitoring.report(WATCHDOG_NAME)
    monitoring.report("AgentsDown")
    monitoring.work(UNREPORTED_S + 120)
    end_unasserted(monitoring.connection, is_watched=True)
    assert monitoring.list_open() == []
    monitoring.report("AgentsDown", is_firing=False)
    assert monitoring.list_open() == []
    monitoring.report("AgentsDown")
    assert monitoring.list_open() == ["AgentsDown"]
    monitoring.report("AgentsDown", is_firing=False)
    # The same report, late: the source itself has ended this episode.
    monitoring.report("AgentsDown")
    assert monitoring.list_open() == []


def test_an_outage_of_the_monitoring_ends_no_alert(monitoring: Monitoring) -> None:
    monitoring.report(WATCHDOG_NAME)
    monitoring.report("DiskFull")
    monitoring.wait(2 * UNWATCHED_S)
    assert end_unasserted(monitoring.connection, is_watched=True) == 0
    # It is back, and has not repeated everything yet.
    monitoring.work(600)
    assert end_unasserted(monitoring.connection, is_watched=True) == 0
    monitoring.work(UNREPORTED_S)
    assert end_unasserted(monitoring.connection, is_watched=True) == 1


def test_alerts_of_a_monitoring_that_was_removed_end_after_a_day(monitoring: Monitoring) -> None:
    monitoring.report(WATCHDOG_NAME)
    monitoring.report("DiskFull")
    monitoring.wait(1000)
    watchdog.check(monitoring.connection, 300)
    assert monitoring.list_open() == ["DiskFull", "MonitoringSilent"]
    assert end_unasserted(monitoring.connection, is_watched=False) == 1
    assert monitoring.list_open() == ["DiskFull"]
    assert monitoring.look(UNWATCHED_S - 1500) == 0
    assert monitoring.look(1500) == 1
    assert monitoring.list_open() == []


def test_an_outage_of_the_agents_ends_no_alert_before_alertmanager_could_repeat_it(monitoring: Monitoring) -> None:
    monitoring.report("DiskFull")
    monitoring.report("HostDown")
    monitoring.look(UNREPORTED_S + 600)
    # Neither the agents nor the database are there.
    monitoring.wait(2 * UNWATCHED_S)
    assert end_unasserted(monitoring.connection, is_watched=False) == 0
    assert monitoring.look(3600) == 0
    monitoring.report("DiskFull")
    assert monitoring.look(UNREPORTED_S - 3600 - 240) == 0
    assert monitoring.look(600) == 1
    assert monitoring.list_open() == ["DiskFull"]


def test_an_alert_that_fires_is_repeated_twice_before_it_would_end() -> None:
    assert expiry.UNREPORTED_S > 2 * (REPEAT_S + GROUP_INTERVAL_S)
