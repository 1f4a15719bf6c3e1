"""Failed Dag runs as alerts, on a real PostgreSQL with the columns of Airflow's tables that the statements read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import dict_row

from airfleet_provider.contract.alert_schema import Severity
from airfleet_provider.contract.notification_policy import FailureRule
from airfleet_provider.notifications import failures
from airfleet_provider.notifications.failures import FailureWatch
from servers import Server, serve_own

Row = dict[str, Any]
# Runs that failed days ago notify nobody.
NOON = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
TABLES = """
CREATE TABLE dag (dag_id text PRIMARY KEY, owners text, is_stale boolean NOT NULL DEFAULT false);
CREATE TABLE dag_tag (dag_id text, name text);
CREATE TABLE dag_run (id serial PRIMARY KEY, dag_id text, run_id text, state text, end_date timestamptz,
    run_type text NOT NULL DEFAULT 'scheduled');
CREATE TABLE task_instance (dag_id text, run_id text, task_id text, state text, end_date timestamptz)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_own() as one:
        for statement in TABLES.split(";"):
            one.query(statement)
        yield one


class Airflow:
    """Airflow's tables, as the scheduler changes them, and the watch."""

    def __init__(self, connection: Connection[Row], *rules: FailureRule) -> None:
        self.connection = connection
        self.rules = rules or (FailureRule(),)
        self.watch = FailureWatch(self.rules)

    def start(self, dag: str, run: str, state: str = "running") -> int:
        self.connection.execute(
            "INSERT INTO dag (dag_id, owners) VALUES (%s, 'ada, bob') ON CONFLICT DO NOTHING", (dag,)
        )
        words = "INSERT INTO dag_run (dag_id, run_id, state) VALUES (%s, %s, %s) RETURNING id"
        row = self.connection.execute(words, (dag, run, state)).fetchone()
        assert row
        return int(row["id"])

    def end(self, number: int, state: str, *, minutes: int = 0) -> None:
        moment = NOON + timedelta(minutes=minutes)
        self.connection.execute("UPDATE dag_run SET state = %s, end_date = %s WHERE id = %s", (state, moment, number))

    def end_task(self, number: int, task: str, state: str = "failed", *, minutes: int = 0) -> None:
        self.connection.execute(
            "INSERT INTO task_instance SELECT dag_id, run_id, %s, %s, %s FROM dag_run WHERE id = %s",
            (task, state, NOON + timedelta(minutes=minutes), number),
        )

    def look(self) -> None:
        with self.connection.transaction():
            turn = self.watch.once(self.connection)
        self.watch.note(turn)

    def restart(self) -> None:
        self.watch = FailureWatch(self.rules)

    def alerts(self) -> list[tuple[str, bool]]:
        rows = self.connection.execute("SELECT summary, resolved_at FROM airfleet.alert ORDER BY id")
        return [(row["summary"], row["resolved_at"] is None) for row in rows]


@pytest.fixture
def airflow(server: Server) -> Iterator[Airflow]:
    server.query(
        "TRUNCATE airfleet.alert, airfleet.watermark, airfleet.watched_run,"
        " dag, dag_tag, dag_run, task_instance CASCADE"
    )
    with closing(psycopg.connect(server.dsn, autocommit=True, row_factory=dict_row)) as connection:
        yield Airflow(connection)


def test_failures_from_before_the_first_look_notify_nobody(airflow: Airflow) -> None:
    airflow.end(airflow.start("sales", "old"), "failed")
    airflow.look()
    airflow.restart()
    airflow.look()
    assert airflow.alerts() == []


def test_a_failure_whose_alert_was_deleted_is_not_told_again(airflow: Airflow) -> None:
    """Few Dags have less than OVERLAP runs in the time that alerts are kept."""
    airflow.look()
    run = airflow.start("sales", "old")
    airflow.end(run, "failed", minutes=-60 * 24 * 91)
    airflow.look()
    airflow.connection.execute("DELETE FROM airfleet.alert")
    airflow.restart()
    airflow.look()
    assert airflow.alerts() == []


def test_all_failed_tasks_of_a_run_are_one_alert_that_ends_with_the_next_success(airflow: Airflow) -> None:
    airflow.look()
    run = airflow.start("sales", "monday")
    airflow.look()
    airflow.end_task(run, "load")
    airflow.look()
    assert airflow.alerts() == [("sales: load failed; the run goes on", True)]
    airflow.end_task(run, "report", minutes=1)
    airflow.end(run, "failed", minutes=2)
    airflow.look()
    airflow.look()
    assert airflow.alerts() == [("sales: the run failed: load, report", True)]
    later = airflow.start("sales", "tuesday")
    airflow.end(later, "success")
    airflow.look()
    assert airflow.alerts() == [("sales: the run failed: load, report", False)]
    airflow.restart()
    airflow.look()
    assert len(airflow.alerts()) == 1


def test_a_retry_and_a_skipped_task_are_no_failures(airflow: Airflow) -> None:
    airflow.look()
    run = airflow.start("sales", "monday")
    for state in ("up_for_retry", "skipped", "upstream_failed", "up_for_reschedule"):
        airflow.end_task(run, state, state)
    airflow.look()
    assert airflow.alerts() == []


def test_a_run_that_starts_and_fails_between_two_looks_is_seen(airflow: Airflow) -> None:
    airflow.look()
    airflow.end(airflow.start("sales", "quick"), "failed")
    airflow.look()
    assert airflow.alerts() == [("sales: the run failed", True)]


def test_an_id_that_becomes_visible_after_a_higher_one_is_seen(airflow: Airflow, server: Server) -> None:
    airflow.look()
    with psycopg.connect(server.dsn) as slow:
        slow.execute("INSERT INTO dag_run (dag_id, run_id, state, end_date) VALUES ('slow', 'x', 'failed', now())")
        airflow.end(airflow.start("sales", "quick"), "success")
        airflow.look()
        slow.commit()
    airflow.look()
    assert airflow.alerts() == [("slow: the run failed", True)]


def test_a_run_that_was_cleared_and_fails_again_is_a_new_alert(airflow: Airflow) -> None:
    airflow.look()
    run = airflow.start("sales", "monday")
    airflow.end(run, "failed")
    airflow.look()
    airflow.connection.execute("UPDATE dag_run SET state = 'running', end_date = NULL WHERE id = %s", (run,))
    airflow.look()
    airflow.end(run, "success", minutes=5)
    airflow.look()
    assert airflow.alerts() == [("sales: the run failed", False)]
    airflow.connection.execute("UPDATE dag_run SET state = 'running', end_date = NULL WHERE id = %s", (run,))
    airflow.look()
    airflow.end(run, "failed", minutes=9)
    airflow.look()
    assert airflow.alerts() == [("sales: the run failed", False), ("sales: the run failed", True)]


def test_a_turn_that_is_rolled_back_is_done_again(airflow: Airflow) -> None:
    airflow.look()
    run = airflow.start("sales", "monday")
    airflow.look()
    airflow.end(run, "failed")
    with airflow.connection.transaction(force_rollback=True):
        airflow.watch.once(airflow.connection)
    assert airflow.alerts() == []
    airflow.look()
    assert airflow.alerts() == [("sales: the run failed", True)]


def test_the_first_rule_that_fits_gives_the_severity_and_labels_say_whose_it_is(airflow: Airflow) -> None:
    rules = (FailureRule(tag="money", severity=Severity.CRITICAL), FailureRule(owner="bob", dag="sales.*"))
    watched = Airflow(airflow.connection, *rules)
    watched.look()
    for dag in ("sales_eu", "ledger", "other"):
        watched.end(watched.start(dag, "monday"), "failed")
    watched.connection.execute("INSERT INTO dag_tag VALUES ('ledger', 'money'), ('ledger', 'daily')")
    watched.look()
    rows = watched.connection.execute("SELECT severity, labels FROM airfleet.alert ORDER BY severity").fetchall()
    assert [(row["severity"], row["labels"]["dag_id"]) for row in rows] == [
        ("critical", "ledger"),
        ("warning", "sales_eu"),
    ]
    assert rows[0]["labels"]["tags"] == "daily, money"
    assert rows[0]["labels"]["owner"] == "ada, bob"
    assert rows[0]["labels"]["run_id"] == "monday"


def test_what_is_read_again_is_bounded(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "OVERLAP", 3)
    airflow.look()
    for number in range(20):
        airflow.end(airflow.start("sales", f"run{number}"), "failed")
    airflow.look()
    assert len(airflow.alerts()) == 20
    airflow.look()
    assert len(airflow.watch._done) <= 6


def read_ends(airflow: Airflow) -> list[str]:
    rows = airflow.connection.execute("SELECT ended_by, end_note FROM airfleet.alert WHERE resolved_at IS NOT NULL")
    return [f"{row['ended_by']}: {row['end_note']}" for row in rows]


def test_an_alert_ends_when_the_rules_say_nothing_of_its_dag_any_more(airflow: Airflow) -> None:
    airflow.look()
    for dag in ("sales", "ledger"):
        airflow.end(airflow.start(dag, "monday"), "failed")
    airflow.look()
    airflow.watch = FailureWatch((FailureRule(dag="ledger"),))
    airflow.look()
    assert airflow.alerts() == [("sales: the run failed", False), ("ledger: the run failed", True)]
    airflow.watch = FailureWatch(())
    airflow.look()
    assert [is_open for _, is_open in airflow.alerts()] == [False, False]
    assert read_ends(airflow) == ["airfleet: no rule of `notifications.failures` is about this Dag any more"] * 2


def test_an_alert_ends_when_its_run_was_deleted(airflow: Airflow) -> None:
    airflow.look()
    airflow.end(airflow.start("sales", "monday"), "failed")
    airflow.look()
    airflow.connection.execute("DELETE FROM dag_run")
    airflow.look()
    assert read_ends(airflow) == ["airfleet: the run was deleted"]


def test_an_alert_ends_when_its_dag_stays_out_of_the_live_release(airflow: Airflow) -> None:
    airflow.look()
    airflow.end(airflow.start("sales", "monday"), "failed")
    airflow.look()
    airflow.connection.execute("UPDATE dag SET is_stale = true")
    airflow.look()
    assert airflow.alerts() == [("sales: the run failed", True)]
    airflow.connection.execute("UPDATE airfleet.alert SET seen_at = seen_at - interval '2 days'")
    airflow.look()
    assert read_ends(airflow) == ["airfleet: the Dag has left the live release"]
    # A start reads the last runs again.
    airflow.restart()
    airflow.look()
    assert len(airflow.alerts()) == 1


def test_a_run_that_was_cleared_is_over_when_it_runs_again_so_that_its_next_failure_is_told(airflow: Airflow) -> None:
    """An acknowledgement of the first failure must not hide the second."""
    airflow.look()
    run = airflow.start("sales", "monday")
    airflow.end_task(run, "load")
    airflow.end(run, "failed")
    airflow.look()
    airflow.connection.execute("UPDATE dag_run SET state = 'running', end_date = NULL WHERE id = %s", (run,))
    airflow.look()
    assert [is_open for _, is_open in airflow.alerts()] == [True], "the failed task is still failed"
    airflow.connection.execute("DELETE FROM task_instance")
    airflow.look()
    assert [is_open for _, is_open in airflow.alerts()] == [False]
    airflow.end_task(run, "load", minutes=5)
    airflow.end(run, "failed", minutes=5)
    airflow.look()
    assert [is_open for _, is_open in airflow.alerts()] == [False, True]


def test_a_backfill_heals_no_failure_but_its_own(airflow: Airflow) -> None:
    airflow.look()
    run, again = airflow.start("sales", "monday"), airflow.start("sales", "last year")
    airflow.connection.execute("UPDATE dag_run SET run_type = 'backfill' WHERE id = %s", (again,))
    airflow.end(run, "failed")
    airflow.end(again, "success")
    airflow.look()
    assert airflow.alerts() == [("sales: the run failed", True)]


def test_of_a_crowd_of_failures_most_have_one_alert_together(airflow: Airflow) -> None:
    airflow.look()
    for number in range(failures.MOST_AT_ONCE + 30):
        airflow.end(airflow.start(f"dag{number:02}", "monday"), "failed")
    airflow.look()
    airflow.look()
    unsettled = "SELECT name, count(*) AS count FROM airfleet.alert WHERE settled_at IS NULL GROUP BY 1 ORDER BY 1"
    expected = {"DagRunFailed": failures.MOST_AT_ONCE, "DagRunsFailed": 1}
    assert {row["name"]: row["count"] for row in airflow.connection.execute(unsettled)} == expected
    airflow.restart()
    airflow.look()
    assert {row["name"]: row["count"] for row in airflow.connection.execute(unsettled)} == expected
    airflow.connection.execute(
        "UPDATE airfleet.alert SET seen_at = seen_at - interval '1 h', raised_at = raised_at - interval '1 h'"
    )
    airflow.end(airflow.start("later", "tuesday"), "failed")
    airflow.look()
    is_open = (
        "SELECT name, resolved_at IS NULL AS is_open FROM airfleet.alert"
        " WHERE name = 'DagRunsFailed' OR labels ->> 'dag_id' = 'later'"
    )
    assert {row["name"]: row["is_open"] for row in airflow.connection.execute(is_open)} == {
        "DagRunsFailed": False,
        "DagRunFailed": True,
    }
