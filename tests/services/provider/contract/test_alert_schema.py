"""Raising and resolving alerts on a real PostgreSQL, with the drivers of both halves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import psycopg2
import pytest
from psycopg.rows import dict_row

from airfleet_provider.contract import alert_schema
from airfleet_provider.contract.alert_schema import Severity
from servers import Server, serve_own

Connection = psycopg.Connection[Any]  # or one of psycopg2, which has no types

BEGUN = datetime(2026, 11, 29, 3, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_own() as one:
        yield one


@pytest.fixture(params=[psycopg.connect, partial(psycopg.connect, row_factory=dict_row), psycopg2.connect])
def connection(server: Server, request: pytest.FixtureRequest) -> Iterator[Connection]:
    server.query("TRUNCATE airfleet.alert CASCADE")
    opened = request.param(server.dsn)
    with closing(opened):
        opened.autocommit = True
        yield opened


def fire(
    connection: Connection,
    *,
    summary: str = "web1: 91 % full",
    description: str = "",
    severity: str = "warning",
    labels: Mapping[str, str] | None = None,
    started_at: datetime | None = None,
) -> int | None:
    return alert_schema.raise_alert(
        connection,
        fingerprint="disk:web1",
        source="prometheus",
        name="DiskFull",
        severity=severity,
        summary=summary,
        description=description,
        labels=labels,
        started_at=started_at,
    )


def test_a_condition_that_holds_is_one_alert_with_its_latest_words(connection: Connection, server: Server) -> None:
    first = fire(connection, labels={"host": "web1"})
    assert fire(connection, summary="web1: 95 % full", labels={"host": "web1", "mount": "/"}) == first
    assert server.query("SELECT id, summary, labels, resolved_at FROM airfleet.alert") == [
        (first, "web1: 95 % full", {"host": "web1", "mount": "/"}, None)
    ]


def test_what_holds_again_after_it_ended_is_a_new_alert(connection: Connection, server: Server) -> None:
    first = fire(connection)
    assert alert_schema.resolve_alert(connection, "disk:web1") == first
    assert alert_schema.resolve_alert(connection, "disk:web1") is None
    second = fire(connection)
    assert second not in (None, first)
    assert server.query("SELECT count(*) FROM airfleet.alert WHERE resolved_at IS NULL") == [(1,)]


def test_late_repetitions_of_an_episode_neither_open_nor_end_another(connection: Connection) -> None:
    first = fire(connection, started_at=BEGUN)
    assert alert_schema.resolve_alert(connection, "disk:web1", ended_at=BEGUN + timedelta(minutes=5)) == first
    assert fire(connection, started_at=BEGUN) is None
    second = fire(connection, started_at=BEGUN + timedelta(minutes=9))
    assert second not in (None, first)
    assert alert_schema.resolve_alert(connection, "disk:web1", ended_at=BEGUN + timedelta(minutes=5)) is None


def test_only_a_higher_severity_begins_anew(connection: Connection, server: Server) -> None:
    def read_moment() -> datetime:
        moment: datetime = server.query("SELECT severity_at FROM airfleet.alert")[0][0]
        return moment

    fire(connection, severity="info")
    first = read_moment()
    fire(connection, severity="critical")
    second = read_moment()
    assert second > first
    fire(connection, severity="warning")
    assert read_moment() == second


def test_many_reports_at_once_are_one_alert(server: Server) -> None:
    server.query("TRUNCATE airfleet.alert CASCADE")

    def report(number: int) -> int | None:
        with psycopg.connect(server.dsn) as connection:
            return fire(connection, summary=f"report {number}")

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(report, range(24)))
    assert len(found) == 1
    assert server.query("SELECT count(*) FROM airfleet.alert") == [(1,)]


def test_texts_of_any_length_and_kind_are_stored(connection: Connection, server: Server) -> None:
    labels = {f"label{number:03}": "x" * 9999 for number in range(200)}
    fire(connection, summary="a\x00b\ud800c" + "y" * 9999, description="z" * 99_999, labels=labels)
    [(summary, description, stored)] = server.query("SELECT summary, description, labels FROM airfleet.alert")
    assert summary.startswith("a�b?c")
    assert (len(summary), len(description), len(stored)) == (1000, 8000, 64)
    assert {len(text) for text in stored.values()} == {500}


def test_a_transaction_that_rolls_back_has_raised_nothing(server: Server) -> None:
    server.query("TRUNCATE airfleet.alert CASCADE")
    with psycopg.connect(server.dsn) as connection:
        fire(connection)
        connection.rollback()
    assert server.query("SELECT count(*) FROM airfleet.alert") == [(0,)]


def test_a_signal_leaves_the_moment_of_its_last_arrival(connection: Connection, server: Server) -> None:
    alert_schema.beat(connection, alert_schema.WATCHDOG)
    [(first,)] = server.query("SELECT seen_at FROM airfleet.heartbeat")
    alert_schema.beat(connection, alert_schema.WATCHDOG)
    [(second,)] = server.query("SELECT seen_at FROM airfleet.heartbeat")
    assert second > first


@pytest.mark.parametrize(
    ("word", "severity"),
    [("page", Severity.CRITICAL), ("Critical ", Severity.CRITICAL), ("none", Severity.INFO), ("?", Severity.WARNING)],
)
def test_words_of_other_tools_for_a_severity(word: str, severity: Severity) -> None:
    assert alert_schema.read_severity(word) is severity


def test_severities_have_an_order() -> None:
    assert sorted(Severity, key=lambda one: one.rank) == [Severity.INFO, Severity.WARNING, Severity.CRITICAL]
