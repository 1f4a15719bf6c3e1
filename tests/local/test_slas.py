"""The SLA engine on a real metadata database: runs that Airflow itself has made, kills, alerts, reports."""

# ruff: noqa: S608 - names of tables and columns are constants of this file
from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from airfleet_provider.contract.sla_rules import PromiseKind, SlaRule
from airfleet_provider.slas.agent import SlaEngine
from old_runs import make_dag
from shops import Database

pytestmark = pytest.mark.local

Row = dict[str, Any]


class KilledError(Exception):
    """The process was killed at this statement."""


class Engine:
    """An engine on the database. It can be killed at any statement that writes."""

    def __init__(self, database: Database, *rules: SlaRule) -> None:
        self.database = database
        self.rules = rules
        self.connection = psycopg.connect(database.dsn, autocommit=True, row_factory=dict_row)
        self.engine = SlaEngine(rules)

    @contextlib.contextmanager
    def read(self) -> Iterator[psycopg.Connection[Row]]:
        self.connection.execute("BEGIN READ ONLY; SET LOCAL statement_timeout = 5000")
        yield self.connection
        self.connection.execute("COMMIT")

    def write_until(self, kill_at: int | None) -> Callable[[], contextlib.AbstractContextManager[Any]]:
        @contextlib.contextmanager
        def write() -> Iterator[Any]:
            with self.connection.transaction():
                yield _Mortal(self.connection, kill_at)

        return write

    def evaluate(self, kill_at: int | None = None) -> int:
        return self.engine.evaluate(self.read, self.write_until(kill_at))

    def restart(self) -> None:
        self.connection.close()
        self.connection = psycopg.connect(self.database.dsn, autocommit=True, row_factory=dict_row)
        self.engine = SlaEngine(self.rules)

    def list_rows(self, *columns: str) -> list[tuple[Any, ...]]:
        names = ", ".join(columns)
        return self.database.query(f"SELECT {names} FROM airfleet.sla_instance ORDER BY rule, kind, dag_id, occasion")


class _Mortal:
    """A connection on which a statement fails as if the process had been killed before it."""

    def __init__(self, connection: psycopg.Connection[Row], kill_at: int | None) -> None:
        self._connection, self._left = connection, kill_at

    def execute(self, *words: Any) -> Any:  # noqa: ANN401
        self._count()
        return self._connection.execute(*words)

    def cursor(self) -> Any:  # noqa: ANN401
        self._count()
        return self._connection.cursor()

    def _count(self) -> None:
        if self._left is not None:
            if self._left == 0:
                raise KilledError
            self._left -= 1


@pytest.fixture
def clean(database: Database) -> Iterator[Database]:
    def clear() -> None:
        for table in ("sla_instance", "sla_profile", "sla_engine", "notification", "alert"):
            database.query(f"DELETE FROM airfleet.{table}")
        for table in ("task_instance", "dag_run", "dag"):
            database.query(f"DELETE FROM {table} WHERE dag_id LIKE 'sla!_%%' ESCAPE '!'")
        database.query(
            "DELETE FROM asset_event WHERE asset_id IN (SELECT id FROM asset WHERE name LIKE 'sla!_%%' ESCAPE '!')"
        )
        database.query("DELETE FROM asset WHERE name LIKE 'sla!_%%' ESCAPE '!'")

    clear()
    yield database
    clear()


def start_run(
    database: Database, dag: str, run: str, *, ago: timedelta, task: str = "task_1", state: str = "running"
) -> None:
    """A scheduled run that began a while ago, with one task in it."""
    moment = datetime.now(UTC) - ago
    database.query(
        "INSERT INTO dag_run (dag_id, run_id, run_type, run_after, logical_date, start_date, state, context_carrier)"
        " VALUES (%s, %s, 'scheduled', %s, %s, %s, %s, '{}')",
        *(dag, run, moment, moment, moment, state),
    )
    database.query(
        "INSERT INTO task_instance (id, task_id, dag_id, run_id, map_index, start_date, scheduled_dttm, queued_dttm,"
        " state, try_number, max_tries, pool, pool_slots, queue)"
        " VALUES (gen_random_uuid(), %s, %s, %s, -1, %s, %s, %s, 'running', 1, 1, 'default_pool', 1, 'default')",
        *(task, dag, run, moment, moment, moment),
    )


def end_run(database: Database, dag: str, run: str, state: str = "success") -> None:
    for table in ("task_instance", "dag_run"):
        database.query(
            f"UPDATE {table} SET state = %s, end_date = now() WHERE dag_id = %s AND run_id = %s", state, dag, run
        )


# Longer than a busy machine stands still.
LONG = SlaRule("long", PromiseKind.NO_LONGER_THAN, dag="sla_.*", limit_s=3600)


def test_a_late_run_raises_an_alert_and_its_end_resolves_it(clean: Database) -> None:
    make_dag(clean.query, "sla_marts", runs=5, tasks=3, hours=10, rare=False)
    engine = Engine(clean, LONG)
    engine.evaluate()
    assert engine.list_rows("state") == [], "the past is past"
    start_run(clean, "sla_marts", "r1", ago=timedelta(seconds=30))
    engine.evaluate()
    assert engine.list_rows("state", "run_id", "reason LIKE 'task_1 runs since %%'") == [("due", "r1", True)]
    clean.query("UPDATE airfleet.sla_instance SET due_at = now() - interval '10 s'")
    engine.evaluate()
    assert engine.list_rows("state", "is_alerting") == [("late", True)]
    query = "SELECT severity, summary, labels->>'run_id', resolved_at IS NULL FROM airfleet.alert"
    ((severity, summary, run, is_open),) = clean.query(query)
    assert (severity, run, is_open) == ("critical", "r1", True)
    assert summary.startswith("sla_marts is late since ")
    engine.evaluate()
    end_run(clean, "sla_marts", "r1")
    engine.evaluate()
    assert engine.list_rows("state", "is_alerting", "fulfilled_at > due_at") == [("missed", False, True)]
    assert clean.query("SELECT resolved_at IS NULL FROM airfleet.alert") == [(False,)]


def test_a_cleared_run_changes_neither_its_ended_promise_nor_alerts(clean: Database) -> None:
    make_dag(clean.query, "sla_marts", runs=5, tasks=3, hours=10, rare=False)
    engine = Engine(clean, LONG)
    engine.evaluate()
    start_run(clean, "sla_marts", "r1", ago=timedelta(seconds=5))
    end_run(clean, "sla_marts", "r1")
    engine.evaluate()
    assert engine.list_rows("state") == [("met",)]
    clean.query("UPDATE airfleet.sla_instance SET ended_at = now() - interval '1 h'")
    clean.query(
        "UPDATE dag_run SET state = 'running', end_date = NULL, start_date = now() - interval '2 h' WHERE run_id = 'r1'"
    )
    for _ in range(3):
        engine.evaluate()
    end_run(clean, "sla_marts", "r1")
    engine.evaluate()
    assert engine.list_rows("state") == [("met",)]
    assert clean.query("SELECT FROM airfleet.alert") == []


def test_a_kill_at_any_statement_changes_no_row(clean: Database) -> None:
    """The same events, with an engine that is killed at each statement in turn, and one that never is."""
    make_dag(clean.query, "sla_marts", runs=5, tasks=3, hours=10, rare=False)
    seen = []
    for kills in (False, True):
        for table in ("sla_instance", "sla_profile", "sla_engine", "alert"):
            clean.query(f"DELETE FROM airfleet.{table}")
        clean.query("DELETE FROM dag_run WHERE dag_id = 'sla_marts' AND run_id LIKE 'r_'")
        engine = Engine(clean, LONG)
        _survive(engine, kills)
        start_run(clean, "sla_marts", "r1", ago=timedelta(hours=2))
        _survive(engine, kills)
        start_run(clean, "sla_marts", "r2", ago=timedelta(seconds=20))
        end_run(clean, "sla_marts", "r1")
        _survive(engine, kills)
        end_run(clean, "sla_marts", "r2")
        _survive(engine, kills)
        alerts = clean.query("SELECT fingerprint, resolved_at IS NULL FROM airfleet.alert ORDER BY 1")
        seen.append((engine.list_rows("rule", "occasion", "state", "is_alerting"), alerts))
    assert seen[0] == seen[1]
    assert [row[2] for row in seen[0][0]] == ["missed", "met"]


def _survive(engine: Engine, kills: bool) -> None:
    """Evaluate twice; with `kills`, the engine is killed at each statement of the first evaluation before."""
    for kill_at in itertools.count() if kills else ():
        before = engine.list_rows("state", "changed_at")
        try:
            engine.evaluate(kill_at)
            break
        except KilledError:
            assert engine.list_rows("state", "changed_at") == before
            engine.restart()
    else:
        engine.evaluate()
    engine.evaluate()


def test_lateness_is_predicted_from_what_runs_took_before(clean: Database) -> None:
    make_dag(clean.query, "sla_marts", runs=5, tasks=3, hours=10, rare=False)
    for table in ("task_instance", "dag_run"):
        clean.query(f"UPDATE {table} SET end_date = start_date + interval '10 min' WHERE dag_id = 'sla_marts'")
    engine = Engine(clean, SlaRule("long", PromiseKind.NO_LONGER_THAN, dag="sla_marts", limit_s=300))
    engine.evaluate()
    engine.evaluate()
    ((runs,),) = clean.query("SELECT jsonb_array_length(samples->'totals') FROM airfleet.sla_profile")
    assert runs == 5
    start_run(clean, "sla_marts", "r1", ago=timedelta(seconds=5))
    engine.evaluate()
    assert engine.list_rows("state", "expected_at > due_at", "is_alerting") == [("at-risk", True, True)]
    ((summary, description),) = clean.query("SELECT summary, description FROM airfleet.alert")
    assert "is expected" in summary
    assert "task_1" in description


def test_every_other_kind_reads_what_it_needs(clean: Database) -> None:
    make_dag(clean.query, "sla_marts", runs=5, tasks=3, hours=100, rare=True)
    at = (datetime.now(UTC) + timedelta(hours=1)).time().replace(second=0, microsecond=0)
    clean.query("UPDATE dag SET owners = 'bi, ops' WHERE dag_id = 'sla_marts'")
    clean.query("INSERT INTO dag_tag (dag_id, name) VALUES ('sla_marts', 'daily') ON CONFLICT DO NOTHING")
    clean.query("UPDATE dag_version SET created_at = now() - interval '30 days'")
    clean.query("INSERT INTO asset_active (name, uri) SELECT name, uri FROM asset WHERE name = 'sla_marts'")
    clean.query("DELETE FROM asset_event")
    engine = Engine(
        clean,
        SlaRule("by", PromiseKind.FINISHED_BY, tag="daily", owner="ops", at=at),
        SlaRule("by-task", PromiseKind.FINISHED_BY, dag="sla_marts", task="task_2", at=at),
        SlaRule("fresh", PromiseKind.FRESH_BY, asset="sla_.*", at=at),
        SlaRule("must", PromiseKind.MUST_RUN, dag="sla_marts", limit_s=3600),
        SlaRule("prompt", PromiseKind.STARTS_WITHIN, dag="sla_marts", limit_s=3600),
    )
    clean.query(
        "UPDATE task_instance SET state = 'running' WHERE dag_id = 'sla_marts' AND task_id = 'task_2' AND run_id ="
        " (SELECT run_id FROM dag_run WHERE dag_id = 'sla_marts' ORDER BY run_after DESC LIMIT 1)"
    )
    clean.query(
        "INSERT INTO task_outlet_asset_reference (asset_id, dag_id, task_id, created_at, updated_at)"
        " SELECT id, 'sla_marts', 'task_1', now(), now() FROM asset WHERE name = 'sla_marts'"
    )
    engine.evaluate()
    states = {row[0]: row[1] for row in engine.list_rows("rule", "state")}
    assert states == {"by": "due", "fresh": "due", "must": "due"}, "the version has no tasks"
    clean.query("UPDATE dag SET next_dagrun_create_after = now() WHERE dag_id = 'sla_marts'")
    engine.evaluate()
    assert ("prompt", "due", None) in engine.list_rows("rule", "state", "run_id"), "the scheduler has not made the run"
    clean.query("UPDATE dag SET next_dagrun_create_after = now() + interval '1 day' WHERE dag_id = 'sla_marts'")
    clean.query(
        "INSERT INTO asset_event (asset_id, extra, timestamp)"
        " SELECT id, '{}', now() FROM asset WHERE name = 'sla_marts'"
    )
    start_run(clean, "sla_marts", "r1", ago=timedelta(seconds=5))
    end_run(clean, "sla_marts", "r1")
    engine.evaluate()
    states = {row[0]: row[1] for row in engine.list_rows("rule", "state") if row[1] != "due"}
    assert states == {"by": "met", "fresh": "met", "must": "met", "prompt": "met"}
    shown = json.loads(clean.airflow("airfleet", "sla", "report", "--format", "json"))
    assert (shown["met"], shown["missed"], shown["met_percent"]) == (4, 0, 100.0)


def test_a_run_that_ends_while_no_engine_works_keeps_its_promises(clean: Database) -> None:
    """The next engine remembers no active run, and reads no history to find out."""
    make_dag(clean.query, "sla_marts", runs=5, tasks=3, hours=100, rare=False)
    for run in ("r1", "r2"):
        start_run(clean, "sla_marts", run, ago=timedelta(minutes=5))
    rules = (
        SlaRule("must", PromiseKind.MUST_RUN, dag="sla_marts", limit_s=3600),
        SlaRule("must-load", PromiseKind.MUST_RUN, dag="sla_marts", task="task_1", limit_s=3600),
    )
    engine = Engine(clean, *rules)
    clean.query(
        "UPDATE serialized_dag SET data = %s, data_compressed = NULL WHERE dag_id = 'sla_marts'",
        json.dumps({"dag": {"dag_id": "sla_marts", "tasks": [{"__var": {"task_id": "task_1"}}]}}),
    )
    engine.evaluate()
    assert engine.list_rows("rule", "state") == [("must", "due"), ("must-load", "due")]
    end_run(clean, "sla_marts", "r1")
    engine.restart()
    engine.evaluate()
    states = engine.list_rows("rule", "state")
    assert sorted(states) == [("must", "due"), ("must", "met"), ("must-load", "due"), ("must-load", "met")]
    engine.restart()
    engine.evaluate()
    assert engine.list_rows("rule", "state") == states, "one success counts once"


DAG = """
import time
from airflow.sdk import DAG, task

with DAG("sla_real", schedule=None):
    @task
    def extract():
        time.sleep(1)

    @task
    def load():
        time.sleep(1)

    extract() >> load()
"""


def test_a_run_that_airflow_made_is_read_with_its_critical_path(clean: Database, tmp_path: Path) -> None:
    (tmp_path / "sla_real.py").write_text(DAG)
    bundle = {"name": "real", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle"}
    variables = {
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([{**bundle, "kwargs": {"path": str(tmp_path)}}])
    }
    airflow = Database(clean.dsn, clean.folder, {**clean.environment, **variables})
    airflow.airflow("dags", "reserialize")
    at = datetime.now(UTC) + timedelta(hours=12)  # no deadline passes during the test
    by, since = (moment.time().replace(second=0, microsecond=0) for moment in (at, at + timedelta(minutes=1)))
    engine = Engine(
        clean,
        SlaRule("long", PromiseKind.NO_LONGER_THAN, dag="sla_real", limit_s=600),
        SlaRule("load", PromiseKind.NO_LONGER_THAN, dag="sla_real", task="load", limit_s=600),
        SlaRule("by", PromiseKind.FINISHED_BY, dag="sla_real", at=by, since=since),
    )
    engine.evaluate()
    airflow.airflow("dags", "test", "sla_real")
    engine.evaluate()
    states = [row for row in engine.list_rows("rule", "task_id", "state") if row[2] != "due"]
    assert states == [("load", "load", "met"), ("long", "", "met")], "a run that ended before it was seen"
    engine.restart()
    engine.evaluate()
    assert [row for row in engine.list_rows("state") if row == ("met",)] == [("met",)] * 2, "each ends once"
    ((samples,),) = clean.query("SELECT samples FROM airfleet.sla_profile WHERE dag_id = 'sla_real'")
    duration, rest, _ = samples["tasks"]["extract"][0]
    assert duration >= 0.9
    assert rest >= 0.9, "after `extract` comes `load`"
    assert samples["tasks"]["load"][0][1] == 0
