"""Reads the graph of Dags and assets from the metadata database, with a function that runs one statement."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, LiteralString

from airfleet_provider.contract.explanation.reading import Query
from airfleet_provider.contract.lineage.datasets import DatasetNames
from airfleet_provider.contract.lineage.graph import (
    ColumnEdge,
    LineageAsset,
    LineageDag,
    LineageGraph,
    NodeKey,
    NodeKind,
    PromiseStanding,
    Relation,
    RunRecord,
    make_edges,
)
from airfleet_provider.contract.sla_rules import PromiseKind, SlaRule
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "reading")

# Of each asset, the tasks of so many of the last events count as its writers.
MOST_EVENTS = 100
# So many datasets and columns are read, those that were seen last.
MOST_USES, MOST_COLUMN_USES = 20_000, 50_000
# So many Dags are read with one statement, so that none comes near to the time-out of statements.
MOST_DAGS = 50
# The states of an instance of an SLA, the one that matters most first.
_ORDER = ("late", "missed", "at-risk", "due", "met", "")
_RELATIONS = {"trigger": Relation.TRIGGERS, "sensor": Relation.IS_AWAITED_BY}

Row = Mapping[str, Any]
_Found = tuple[NodeKey, NodeKey, Relation, str]


def read(query: Query, rules: Sequence[SlaRule]) -> LineageGraph:
    """Return all Dags and assets. `query` should run all statements in one snapshot; `rules` are those of fleet.yaml.

    A Dag that has left the live release is not in it, and an asset is in it if Airflow calls it active or a Dag of the
    live release names it. What events of OpenLineage say is added: a dataset that is an asset of Airflow is that asset.
    """
    (clock,) = query(SQL["now"], {})
    dags = {row["dag_id"]: _make_dag(row) for row in query(SQL["dags"], {})}
    rows = query(SQL["assets"], {})
    names = {int(row["id"]): str(row["name"]) for row in rows}
    found = [
        one
        for one in chain(_read_asset_relations(query, names), _read_dependencies(query, dags))
        if all(node.kind is NodeKind.ASSET or node.name in dags for node in one[:2])
    ]
    named = {node.name for one in found for node in one[:2] if node.kind is NodeKind.ASSET}
    assets = {row["name"]: _make_asset(row) for row in rows if row["is_active"] or row["name"] in named}
    columns: tuple[ColumnEdge, ...] = ()
    if query(SQL["has_events"], {})[0]["found"]:
        names_of = DatasetNames(assets)
        found += [names_of.take(row) for row in query(SQL["uses"], {"most": MOST_USES}) if row["dag_id"] in dags]
        assets.update(names_of.found)
        columns = tuple(sorted(set(names_of.list_columns(query(SQL["columns"], {"most": MOST_COLUMN_USES})))))
    edges = make_edges(found)
    promises = tuple(_read_promises(query, rules, dags, assets))
    return LineageGraph(clock["now"], dags, assets, edges, promises, columns)


def read_runs(query: Query, dags: Iterable[str]) -> Mapping[str, RunRecord]:
    """Return what the database has of the last runs of these Dags. Of a Dag without runs there is nothing."""
    return {row["dag_id"]: RunRecord(row["succeeded"], row["state"]) for row in _by_dags(query, SQL["runs"], dags)}


def read_structures(query: Query, dags: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each of these Dags with its newest serialised form, a part of them at a time."""
    for row in _by_dags(query, SQL["structures"], dags):
        yield row["dag_id"], row["data"] or _expand(row["compressed"])


def _by_dags(query: Query, statement: LiteralString, dags: Iterable[str]) -> Iterator[Row]:
    names = list(dags)
    for start in range(0, len(names), MOST_DAGS):
        yield from query(statement, {"dags": names[start : start + MOST_DAGS]})


def _expand(compressed: bytes | None) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(zlib.decompress(compressed)) if compressed else {}
    return found


def _make_dag(row: Row) -> LineageDag:
    return LineageDag(
        dag_id=row["dag_id"],
        owners=tuple(dict.fromkeys(one.strip() for one in row["owners"].split(",") if one.strip())),
        tags=tuple(row["tags"]),
        schedule=row["schedule"],
        description=row["description"],
        file=row["file"],
        is_paused=bool(row["is_paused"]),
        next_run=row["next_run"],
    )


def _make_asset(row: Row) -> LineageAsset:
    return LineageAsset(**{key: row[key] for key in ("name", "uri", "group", "updated", "by_dag", "by_task", "by_run")})


def _read_asset_relations(query: Query, names: Mapping[int, str]) -> Iterator[_Found]:
    def pair(row: Row) -> tuple[NodeKey, NodeKey]:
        return NodeKey(NodeKind.ASSET, names[row["asset_id"]]), NodeKey(NodeKind.DAG, row["dag_id"])

    for row in query(SQL["outlets"], {}):
        asset, dag = pair(row)
        yield dag, asset, Relation.WRITES, row["task_id"]
    for row in query(SQL["writers"], {"events": MOST_EVENTS}):
        asset, dag = pair(row)
        yield dag, asset, Relation.WROTE, row["task_id"]
    for row in query(SQL["schedules"], {}):
        yield *pair(row), Relation.STARTS, ""
    for row in query(SQL["inlets"], {}):
        yield *pair(row), Relation.IS_READ_BY, row["task_id"]


def _read_dependencies(query: Query, dags: Iterable[str]) -> Iterator[_Found]:
    for row in _by_dags(query, SQL["dependencies"], dags):
        listed = row["dependencies"]
        if listed is None and row["compressed"]:
            listed = _expand(row["compressed"]).get("dag", {}).get("dag_dependencies")
        for one in listed or ():
            relation = _RELATIONS.get(one.get("dependency_type"))
            source, target = one.get("source"), one.get("target")
            if relation and source and target:
                task = str(one.get("dependency_id") or one.get("label") or "")
                yield NodeKey(NodeKind.DAG, str(source)), NodeKey(NodeKind.DAG, str(target)), relation, task


def _read_promises(
    query: Query, rules: Sequence[SlaRule], dags: Mapping[str, LineageDag], assets: Mapping[str, LineageAsset]
) -> Iterator[PromiseStanding]:
    """Yield each rule of fleet.yaml with each Dag or asset that it is about."""
    if not rules:
        return
    standings: dict[tuple[str, str, NodeKey], list[tuple[bool, str, datetime | None]]] = {}
    for row in query(SQL["promises"], {}):
        node = NodeKey(NodeKind.ASSET, row["asset"]) if row["asset"] else NodeKey(NodeKind.DAG, row["dag_id"])
        state = row["wrong"] or row["ended"] or "due"
        standings.setdefault((row["rule"], row["kind"], node), []).append((bool(row["wrong"]), state, row["due"]))
    for rule in rules:
        for node in _list_subjects(rule, dags, assets):
            ones = standings.get((rule.name, rule.kind, node), [])
            yield PromiseStanding(
                rule=rule.name,
                promise=rule.describe(),
                severity=rule.severity,
                subject=node,
                task=rule.task or "",
                # What is wrong now comes before what ended badly and was made good.
                state=min(ones, key=lambda one: (not one[0], _ORDER.index(one[1])), default=(False, "", None))[1],
                due=min((due for _, _, due in ones if due), default=None),
                is_broken=any(is_wrong for is_wrong, _, _ in ones),
            )


def _list_subjects(
    rule: SlaRule, dags: Mapping[str, LineageDag], assets: Mapping[str, LineageAsset]
) -> Iterator[NodeKey]:
    if rule.kind is PromiseKind.FRESH_BY:
        for asset in assets.values():
            if rule.matches_asset(asset.name, asset.uri):
                yield NodeKey(NodeKind.ASSET, asset.name)
        return
    for dag in dags.values():
        if rule.matches_dag(dag.dag_id, dag.tags, dag.owners):
            yield NodeKey(NodeKind.DAG, dag.dag_id)
