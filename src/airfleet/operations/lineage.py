"""Find what a Dag or an asset depends on, what depends on it, and who is hurt if it is late."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from airfleet.errors import UsageError
from airfleet.operations import explanation
from airfleet.operations.explanation import ReadablePlatform
from airfleet_provider.contract.lineage import reading
from airfleet_provider.contract.lineage.graph import (
    ColumnKey,
    LineageGraph,
    NodeKey,
    NodeKind,
    PromiseStanding,
    RunRecord,
)

CLOSEST = 3
# Columns that a hint names if none is close.
MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class HurtNode:
    """A Dag or an asset that is late, or made from old data, if what is before it is late. `depth` is how far it is."""

    node: NodeKey
    depth: int
    owners: tuple[str, ...]
    promises: tuple[PromiseStanding, ...]

    @property
    def due(self) -> datetime | None:
        """Return the next deadline of its promises."""
        return min((one.due for one in self.promises if one.due), default=None)


@dataclass(frozen=True, slots=True)
class LineageView:
    """A node of the graph, with the last runs of the Dags around it."""

    graph: LineageGraph
    node: NodeKey
    runs: Mapping[str, RunRecord]
    hurt: tuple[HurtNode, ...]


def look(place: ReadablePlatform, name: str) -> LineageView:
    """Return the lineage of an asset or a Dag. `name` is the name or the URI of an asset, or the id of a Dag.

    Raises:
        UsageError: There is nothing of this name, or an asset and a Dag have it.
        AirfleetError: The database cannot be read.
    """
    with explanation.open_database(place) as database, database.take() as query:
        graph = reading.read(query, place.fleet.slas)
        node = find_node(graph, name)
        near = {node, *graph.find_relatives(node, down=True), *graph.find_relatives(node, down=False)}
        runs = reading.read_runs(query, sorted(one.name for one in near if one.kind is NodeKind.DAG))
    return LineageView(graph, node, runs, list_hurt(graph, node))


def read_graph(place: ReadablePlatform) -> LineageGraph:
    """Return all Dags and assets of a platform. Raises AirfleetError if the database cannot be read."""
    with explanation.open_database(place) as database, database.take() as query:
        return reading.read(query, place.fleet.slas)


def find_node(graph: LineageGraph, name: str) -> NodeKey:
    """Return the node that a user means. `dag:NAME` and `asset:NAME` choose if both have the name.

    Raises:
        UsageError: There is nothing of this name, or an asset and a Dag have it.
    """
    found = _find_nodes(graph, name)
    for kind in NodeKind:
        if not found and name.startswith(f"{kind}:"):
            found = [one for one in _find_nodes(graph, name.removeprefix(f"{kind}:")) if one.kind is kind]
    if len(found) > 1:
        choices = " or ".join(shlex.join(("airfleet", "lineage", f"{one.kind}:{one.name}")) for one in found)
        raise UsageError(f"several things are called {name!r}", hint=choices)
    if not found:
        known = sorted({*graph.dags, *graph.assets, *(one.uri for one in graph.assets.values())})
        near = difflib.get_close_matches(name, known, CLOSEST)
        hint = f"one of {', '.join(near)}" if near else "`airfleet lineage` without a name lists the assets"
        raise UsageError(f"there is no asset and no Dag {name!r}", hint=hint)
    return found[0]


def find_column(view: LineageView, name: str) -> ColumnKey:
    """Return a column of the node that a view is about.

    Raises:
        UsageError: The node is a Dag, or no event named such a column.
    """
    if view.node.kind is not NodeKind.ASSET:
        raise UsageError(f"{view.node.name} is a Dag, and a Dag has no columns", hint="name an asset")
    known = view.graph.list_columns(view.node.name)
    key = ColumnKey(view.node.name, name)
    if key in known or view.graph.list_column_edges(key, down=True):
        return key
    names = [one.column for one in known]
    near = difflib.get_close_matches(name, names, CLOSEST) or names[:MOST_NAMED]
    hint = f"one of {', '.join(near)}" if near else "columns are known from events: `openlineage` in fleet.yaml"
    raise UsageError(f"{view.node.name} has no known column {name!r}", hint=hint)


def _find_nodes(graph: LineageGraph, name: str) -> list[NodeKey]:
    found = [node for kind in NodeKind if graph.has(node := NodeKey(kind, name))]
    by_uri = [NodeKey(NodeKind.ASSET, one.name) for one in graph.assets.values() if one.uri == name]
    return found or by_uri


def list_hurt(graph: LineageGraph, node: NodeKey) -> tuple[HurtNode, ...]:
    """Return what is after a node: what has promised something first, the next deadline first, then the nearest."""
    found = [
        HurtNode(one, depth, find_owners(graph, one), graph.list_promises(one))
        for one, depth in graph.find_relatives(node, down=True).items()
        if one.kind is NodeKind.DAG or graph.list_promises(one)
    ]
    last = datetime.max.replace(tzinfo=graph.now.tzinfo)
    return tuple(sorted(found, key=lambda one: (not one.promises, one.due or last, one.depth, one.node)))


def find_owners(graph: LineageGraph, node: NodeKey) -> tuple[str, ...]:
    """Return the owners of a Dag, or those of the Dags that write an asset."""
    if node.kind is NodeKind.DAG:
        return graph.dags[node.name].owners
    above = (edge.source.name for edge in graph.list_edges(node, down=False))
    return tuple(dict.fromkeys(owner for dag in above for owner in graph.dags[dag].owners))
