"""The graph that is read from Airflow's own tables, in a real PostgreSQL."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier, Placeholder

from airfleet_provider.contract.lineage import reading
from airfleet_provider.contract.lineage.graph import LineageGraph, NodeKey, NodeKind, Relation, RunRecord
from airfleet_provider.contract.sla_rules import PromiseKind, SlaRule
from airflow_tables import serve

NOW = datetime.now(UTC)
FRESH = SlaRule("morning", PromiseKind.FRESH_BY, asset="raw", at=time(6))
SHORT = SlaRule("short", PromiseKind.NO_LONGER_THAN, dag="marts", task=".*", limit_s=60)


class Tables:
    """Airflow's tables. Rows need not keep the foreign keys that a test has no use for."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self.connection = connection
        connection.execute("SET session_replication_role = replica")

    def query(self, sql: LiteralString, parameters: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        return self.connection.execute(sql, parameters).fetchall()

    def add(self, table: str, **values: object) -> None:
        statement = SQL("INSERT INTO {} ({}) VALUES ({})").format(
            Identifier(*table.split(".")),
            SQL(", ").join(map(Identifier, values)),
            SQL(", ").join([Placeholder()] * len(values)),
        )
        self.connection.execute(statement, list(values.values()))

    def add_dag(self, dag: str, *, is_stale: bool = False, body: Mapping[str, Any] | bytes | None = None) -> None:
        self.add(
            "dag",
            dag_id=dag,
            is_paused=False,
            is_stale=is_stale,
            exceeds_max_non_backfill=False,
            bundle_name="b",
            timetable_type="t",
            partition_mapper_info="[]",
            timetable_summary="Asset",
            max_active_tasks=1,
            max_consecutive_failed_dag_runs=0,
            has_task_concurrency_limits=False,
            fail_fast=False,
            owners="ann, bob",
        )
        for number in (1, 2):
            # Only the newest version counts.
            version = f"{abs(hash((dag, number))):032x}"[-32:]
            self.add("dag_version", id=version, version_number=number, dag_id=dag, created_at=NOW, last_updated=NOW)
            data = body if number == 2 else {"dag": {"dag_dependencies": [depend(dag, "ghost")]}}
            self.add(
                "serialized_dag",
                id=version,
                dag_id=dag,
                data=None if isinstance(data, bytes) else json.dumps(data or {"dag": {}}),
                data_compressed=data if isinstance(data, bytes) else None,
                created_at=NOW,
                last_updated=NOW,
                dag_hash="h",
                dag_version_id=version,
            )

    def add_asset(self, number: int, name: str, uri: str, *, is_active: bool = True) -> None:
        words = {"created_at": NOW, "updated_at": NOW, "extra": "{}"}
        self.add("asset", id=number, name=name, uri=uri, group="asset", **words)
        if is_active:
            self.add("asset_active", name=name, uri=uri)

    def refer(self, table: str, **values: object) -> None:
        self.add(table, created_at=NOW, updated_at=NOW, **values)

    def add_outlet(self, asset: int, dag: str, task: str) -> None:
        words = {"asset_id": asset, "dag_id": dag, "task_id": task}
        self.refer("task_outlet_asset_reference", **words, allow_global_consumers=True)

    def add_event(self, asset: int, dag: str, task: str, at: datetime) -> None:
        words = {"extra": "{}", "source_run_id": "r1", "source_map_index": -1}
        self.add("asset_event", asset_id=asset, source_dag_id=dag, source_task_id=task, timestamp=at, **words)

    def add_run(self, number: int, dag: str, state: str, ended: datetime) -> None:
        self.add(
            "dag_run",
            id=number,
            dag_id=dag,
            run_id=f"r{number}",
            state=state,
            run_after=ended,
            end_date=ended,
            run_type="manual",
            clear_number=0,
            updated_at=NOW,
            log_template_id=1,
        )

    def read(self, *rules: SlaRule) -> LineageGraph:
        return reading.read(self.query, rules)


def depend(source: str, target: str, kind: str = "trigger") -> dict[str, str]:
    return {"source": source, "target": target, "label": "go", "dependency_type": kind, "dependency_id": "go"}


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with serve() as server:
        yield server.dsn


@pytest.fixture
def tables(dsn: str) -> Iterator[Tables]:
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        yield Tables(connection)
        connection.rollback()


def edges(graph: LineageGraph) -> set[tuple[str, Relation, str, tuple[str, ...]]]:
    return {(one.source.name, one.relation, one.target.name, one.tasks) for one in graph.edges}


def test_an_empty_platform_has_an_empty_graph(tables: Tables) -> None:
    graph = tables.read(FRESH, SHORT)
    assert (graph.dags, graph.assets, graph.edges, graph.promises) == ({}, {}, (), ())


def test_outlets_inlets_schedules_and_events_are_edges(tables: Tables) -> None:
    for dag in ("load", "marts", "report", "odd", "watcher"):
        tables.add_dag(dag)
    tables.add_asset(1, "raw", "s3://raw")
    tables.add_asset(2, "clean", "s3://clean")
    tables.refer(
        "task_outlet_asset_reference", asset_id=1, dag_id="load", task_id="settle", allow_global_consumers=True
    )
    tables.refer("dag_schedule_asset_reference", asset_id=1, dag_id="marts", allow_global_producers=True)
    tables.refer("task_inlet_asset_reference", asset_id=1, dag_id="report", task_id="draw")
    tables.add("dag_schedule_asset_uri_reference", uri="s3://clean", dag_id="watcher", created_at=NOW)
    tables.add("asset_alias", id=7, name="any", group="g")
    tables.add("asset_alias_asset", alias_id=7, asset_id=2)
    tables.refer("dag_schedule_asset_alias_reference", alias_id=7, dag_id="report")
    tables.add_event(1, "load", "settle", NOW - timedelta(hours=2))
    tables.add_event(1, "odd", "by_hand", NOW - timedelta(hours=1))
    graph = tables.read()
    assert edges(graph) == {
        ("load", Relation.WRITES, "raw", ("settle",)),
        ("odd", Relation.WROTE, "raw", ("by_hand",)),
        ("raw", Relation.STARTS, "marts", ()),
        ("raw", Relation.IS_READ_BY, "report", ("draw",)),
        ("clean", Relation.STARTS, "watcher", ()),
        ("clean", Relation.STARTS, "report", ()),
    }
    assert (graph.assets["raw"].by_dag, graph.assets["raw"].updated) == ("odd", NOW - timedelta(hours=1))
    assert graph.dags["load"].owners == ("ann", "bob")


@pytest.mark.parametrize("is_compressed", [False, True])
def test_triggers_and_sensors_of_the_newest_version_are_edges(tables: Tables, *, is_compressed: bool) -> None:
    body = {"dag": {"dag_dependencies": [depend("a", "b"), depend("c", "a", "sensor"), depend("a", "gone")]}}
    tables.add_dag("a", body=zlib.compress(json.dumps(body).encode()) if is_compressed else body)
    tables.add_dag("b")
    tables.add_dag("c")
    assert edges(tables.read()) == {
        ("a", Relation.TRIGGERS, "b", ("go",)),
        ("c", Relation.IS_AWAITED_BY, "a", ("go",)),
    }


def test_a_dag_that_left_the_release_is_gone_and_so_is_what_only_it_named(tables: Tables) -> None:
    tables.add_dag("old", is_stale=True)
    tables.add_dag("load")
    tables.add_asset(1, "raw", "s3://raw/v1", is_active=False)
    tables.add_asset(2, "raw", "s3://raw/v2")
    tables.add_asset(3, "orphan", "s3://orphan", is_active=False)
    tables.add_outlet(2, "load", "t")
    tables.add_outlet(3, "old", "t")
    graph = tables.read()
    assert list(graph.dags) == ["load"]
    assert {one.name: one.uri for one in graph.assets.values()} == {"raw": "s3://raw/v2"}


def test_promises_have_the_state_that_the_engine_gave_them(tables: Tables) -> None:
    tables.add_dag("marts")
    tables.add_asset(1, "raw", "s3://raw")
    begun = {"starts_at": NOW - timedelta(days=1), "changed_at": NOW, "kind": "fresh-by", "rule": "morning"}
    tables.add(
        "airfleet.sla_instance",
        asset="raw",
        occasion="1",
        state="met",
        due_at=NOW - timedelta(hours=1),
        ended_at=NOW,
        **begun,
    )
    tables.add("airfleet.sla_instance", asset="raw", occasion="2", state="due", due_at=NOW + timedelta(days=1), **begun)
    graph = tables.read(FRESH, SHORT)
    [fresh] = graph.list_promises(NodeKey(NodeKind.ASSET, "raw"))
    assert (fresh.state, fresh.due) == ("met", NOW + timedelta(days=1))
    [short] = graph.list_promises(NodeKey(NodeKind.DAG, "marts"))
    assert (short.state, short.due, short.task) == ("", None, ".*")
    tables.add(
        "airfleet.sla_instance", asset="raw", occasion="0", state="late", due_at=NOW - timedelta(days=1), **begun
    )
    [fresh] = tables.read(FRESH).list_promises(NodeKey(NodeKind.ASSET, "raw"))
    assert (fresh.state, fresh.is_broken) == ("late", True)


def test_the_last_success_and_the_newest_run_are_read(tables: Tables) -> None:
    tables.add_run(1, "load", "success", NOW - timedelta(hours=3))
    tables.add_run(2, "load", "success", NOW - timedelta(hours=2))
    tables.add_run(3, "load", "failed", NOW - timedelta(hours=1))
    found = reading.read_runs(tables.query, ["load", "never"])
    assert found == {"load": RunRecord(NOW - timedelta(hours=2), "failed")}


def test_a_missed_promise_that_was_made_good_is_told_but_not_marked(tables: Tables) -> None:
    tables.add_asset(1, "raw", "s3://raw")
    for occasion, is_alerting in (("1", False), ("2", True)):
        tables.add(
            "airfleet.sla_instance",
            rule="morning",
            kind="fresh-by",
            asset="raw",
            occasion=occasion,
            state="missed",
            starts_at=NOW,
            due_at=NOW,
            changed_at=NOW,
            ended_at=NOW,
            is_alerting=is_alerting,
        )
        [fresh] = tables.read(FRESH).list_promises(NodeKey(NodeKind.ASSET, "raw"))
        assert (fresh.state, fresh.is_broken) == ("missed", is_alerting)
