"""`db care` on a real metadata database: what it changes, that it ends, and that an upgrade works after it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg
import psycopg2
import pytest

from airfleet_provider.database_care import agent, facts, rules
from airfleet_provider.database_care.rules import CareKind
from airfleet_provider.execution_api.fast_path import SQL
from deadline import wait_until
from old_runs import count_heartbeat_wal, make_dag
from shops import Database

pytestmark = pytest.mark.local


@pytest.fixture
def connection(database: Database) -> Iterator[Any]:
    connection = psycopg2.connect(database.dsn)
    connection.autocommit = True
    yield connection
    agent.give_back(connection)
    agent._execute(connection, agent.FORGET, agent.RECORD)
    connection.close()


def test_a_database_is_cared_for_once_and_heartbeats_write_less(database: Database, connection: Any) -> None:  # noqa: ANN401
    make_dag(database.query, "heartbeats", runs=50, tasks=10, hours=100, rare=False)
    before = count_heartbeat_wal(database.dsn, "heartbeats", rounds=10)

    report = agent.care(connection)

    assert [one for one in report.done if one.error] == []
    kinds = {one.step.kind for one in report.done}
    assert {CareKind.AUTOVACUUM, CareKind.FOREIGN_KEY, CareKind.HEARTBEAT} <= kinds
    assert rules.list_unindexed(report.before)
    assert rules.list_unindexed(report.after) == []
    assert rules.HEARTBEAT_INDEX not in report.after.indexes
    assert report.after.tables["task_instance"].options.items() >= rules.OPTIONS.items()
    left = [one.kind for one in rules.plan(report.after) if one.kind is not CareKind.ANALYZE]
    assert left == [], "a second call has nothing to do"
    assert count_heartbeat_wal(database.dsn, "heartbeats", rounds=10) < before / 3


def test_children_of_runs_are_found_by_an_index(database: Database, connection: Any) -> None:  # noqa: ANN401
    agent.care(connection)
    for table, columns in (("deadline", "dagrun_id"), ("backfill_dag_run", "dag_run_id")):
        [[definition]] = database.query(
            "SELECT indexdef FROM pg_indexes WHERE indexname = %s", f"airfleet_fk_{table}_{columns}"
        )
        assert f"({columns})" in definition


def test_an_upgrade_finds_the_index_and_care_is_taken_again_after_it(database: Database, connection: Any) -> None:  # noqa: ANN401
    [[original]] = database.query("SELECT indexdef FROM pg_indexes WHERE indexname = %s", rules.HEARTBEAT_INDEX)
    assert not agent.take_again(connection), "nothing was dropped yet"
    agent.care(connection)
    assert not database.query("SELECT FROM pg_indexes WHERE indexname = %s", rules.HEARTBEAT_INDEX)

    database.airflow("airfleet", "care", "give-back")
    assert database.query("SELECT indexdef FROM pg_indexes WHERE indexname = %s", rules.HEARTBEAT_INDEX) == [
        (original,)
    ]
    database.airflow("airfleet", "care", "take-again")
    assert not database.query("SELECT FROM pg_indexes WHERE indexname = %s", rules.HEARTBEAT_INDEX)


def test_a_call_killed_before_the_index_was_dropped_leaves_it_to_give_back(database: Database, connection: Any) -> None:  # noqa: ANN401
    definition = facts.observe(database.query).indexes[rules.HEARTBEAT_INDEX].definition
    agent._execute(connection, agent.WRITE, agent.RECORD, agent.DROPPED + definition)
    assert agent.give_back(connection)
    assert facts.observe(database.query).indexes[rules.HEARTBEAT_INDEX].is_valid


def test_the_newest_runs_of_a_dag_are_read_in_the_order_of_an_index(database: Database, connection: Any) -> None:  # noqa: ANN401
    for name in ("often", "rarely"):
        make_dag(database.query, name, runs=2000 if name == "often" else 100, tasks=1, hours=2000, rare=False)
    database.airflow("airfleet", "care", "add-indexes")
    database.query("ANALYZE dag_run")
    [[instance]] = database.query("SELECT id FROM task_instance WHERE dag_id = 'rarely' ORDER BY run_id DESC LIMIT 1")

    with psycopg.connect(database.dsn) as session:
        words = {"id": instance, "fields": "{}", "kept": 30}
        plan = [line for (line,) in session.execute("EXPLAIN " + SQL["show_fields"], words).fetchall()]
        words |= {"has_label": False, "label": None, **dict.fromkeys(("end_date", "now"), datetime.now(UTC))}
        end = [line for (line,) in session.execute("EXPLAIN " + SQL["succeed"], words).fetchall()]

    for shown in (plan, end):
        kept = list(itertools.takewhile(lambda line: "CTE shown" not in line, _from(shown, "CTE kept")))
        reads = [line for line in kept if " on dag_run" in line]
        assert ["airfleet_run_order" in line for line in reads] == [True], shown
        assert not any("Sort" in line for line in kept), shown


def test_one_task_instance_is_found_by_its_id_and_not_among_all_of_its_state(database: Database) -> None:
    make_dag(database.query, "ended", runs=500, tasks=4, hours=500, rare=False)
    database.query("ANALYZE task_instance")
    [[instance]] = database.query("SELECT id FROM task_instance WHERE dag_id = 'ended' LIMIT 1")
    texts = dict.fromkeys(("hostname", "unixname", "extra", "fields", "label"), "{}")
    moments = dict.fromkeys(("now", "start_date", "end_date"), datetime.now(UTC))
    words = {"id": instance, "pid": 1, "kept": 30, "has_label": False, **texts, **moments}
    with psycopg.connect(database.dsn) as session:
        for name in ("start", "succeed", "heartbeat"):
            plan = [line for (line,) in session.execute("EXPLAIN " + SQL[name], words).fetchall()]
            reads = [line for line in plan if "Scan" in line and " on task_instance " in line]
            assert ["task_instance_pkey" in line for line in reads] == [True] * len(reads), plan
            assert reads, plan


def _from(plan: list[str], name: str) -> Iterator[str]:
    return itertools.dropwhile(lambda line: name not in line, plan)


@pytest.mark.parametrize("limit", ["INDEX_WAIT", "INDEX_LIMIT"])
def test_an_interrupted_build_of_an_index_is_finished_by_the_next_call(
    database: Database,
    connection: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
) -> None:
    agent.add_indexes(connection)
    assert agent.add_indexes(connection) == (), "nothing is missing"
    database.query("DROP INDEX airfleet_run_order")
    with psycopg.connect(database.dsn) as writer:
        writer.execute("UPDATE dag_run SET state = state WHERE false")
        monkeypatch.setattr(agent, limit, "100ms")
        [failed] = agent.add_indexes(connection)
    assert failed.error
    assert not facts.list_indexes(database.query)["airfleet_run_order"].is_valid, "what CONCURRENTLY leaves"

    monkeypatch.undo()
    assert [one.error for one in agent.add_indexes(connection)] == [None, None]
    assert facts.list_indexes(database.query)["airfleet_run_order"].is_valid


def test_an_index_that_another_process_builds_is_left_to_it(database: Database, connection: Any) -> None:  # noqa: ANN401
    agent.add_indexes(connection)
    database.query("DROP INDEX airfleet_run_order")
    with closing(psycopg2.connect(database.dsn)) as other, ThreadPoolExecutor(1) as pool:
        other.autocommit = True
        with psycopg.connect(database.dsn) as writer:
            writer.execute("UPDATE dag_run SET state = state WHERE false")
            built = pool.submit(agent.add_indexes, other)
            wait_until(lambda: "airfleet_run_order" in facts.list_indexes(database.query), "the build")
            assert all("another process" in str(one.error) for one in agent.add_indexes(connection))
            done = agent.care(connection).done
        assert done
        assert all("another process" in str(one.error) for one in done)
        assert [one.error for one in built.result()] == [None]
    assert facts.list_indexes(database.query)["airfleet_run_order"].is_valid
    assert agent.add_indexes(connection) == (), "nobody holds the lock"


def test_an_open_transaction_is_an_alarm(database: Database) -> None:
    found = facts.observe(database.query)
    late = facts.Transaction(7, "report", "idle in transaction", 900.0)
    names = [one.name for one in rules.list_alarms(_replace(found, transactions=(late,)))]
    assert names == ["long-transaction"]
    assert [one.name for one in rules.list_alarms(_replace(found, xid_age=500_000_000))] == ["wraparound"]


def _replace(found: facts.DatabaseFacts, **changes: Any) -> facts.DatabaseFacts:  # noqa: ANN401 - fields of facts
    calm = {"transactions": (), "xid_age": 1, "connections": 1, "tables": {}}
    return facts.DatabaseFacts(
        **{name: getattr(found, name) for name in facts.DatabaseFacts.__dataclass_fields__} | calm | changes
    )
