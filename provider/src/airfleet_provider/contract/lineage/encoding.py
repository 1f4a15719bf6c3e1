"""Nodes, edges and promises as objects that JSON knows: `airfleet lineage --json` and catalog.json have the same."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airfleet_provider.contract.lineage.graph import (
    ColumnEdge,
    LineageEdge,
    LineageGraph,
    NodeKey,
    NodeKind,
    PromiseStanding,
    RunRecord,
)

Json = dict[str, Any]


def encode_key(node: NodeKey) -> Json:
    return {"kind": node.kind, "name": node.name}


def encode_moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def encode_edge(edge: LineageEdge) -> Json:
    return {
        "source": encode_key(edge.source),
        "target": encode_key(edge.target),
        "relation": edge.relation,
        "tasks": list(edge.tasks),
    }


def encode_column_edge(edge: ColumnEdge) -> Json:
    return {
        "source": {"asset": edge.source.asset, "column": edge.source.column},
        "target": {"asset": edge.target.asset, "column": edge.target.column},
        "dag": edge.dag,
        "task": edge.task,
        "how": edge.how or None,
    }


def encode_asset(graph: LineageGraph, name: str) -> Json:
    """Return an asset with its last update and its promises."""
    asset, node = graph.assets[name], NodeKey(NodeKind.ASSET, name)
    return {
        **encode_key(node),
        "uri": asset.uri,
        "group": asset.group,
        "columns": list(asset.columns),
        "updated": encode_moment(asset.updated),
        "updated_by": {"dag": asset.by_dag, "task": asset.by_task, "run": asset.by_run} if asset.by_dag else None,
        "promises": [encode_promise(one) for one in graph.list_promises(node)],
    }


def encode_dag(graph: LineageGraph, name: str, runs: RunRecord | None) -> Json:
    """Return a Dag with its last runs and its promises."""
    dag, node = graph.dags[name], NodeKey(NodeKind.DAG, name)
    return {
        **encode_key(node),
        "owners": list(dag.owners),
        "tags": list(dag.tags),
        "schedule": dag.schedule,
        "is_paused": dag.is_paused,
        "last_success": encode_moment(runs.succeeded) if runs else None,
        "last_state": (runs.state or None) if runs else None,
        "promises": [encode_promise(one) for one in graph.list_promises(node)],
    }


def encode_promise(one: PromiseStanding) -> Json:
    return {
        "rule": one.rule,
        "promise": one.promise,
        "severity": one.severity,
        "task": one.task or None,
        "state": one.state or None,
        "is_broken": one.is_broken,
        "due": encode_moment(one.due),
    }
