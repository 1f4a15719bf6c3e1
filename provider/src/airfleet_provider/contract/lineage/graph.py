"""The graph of Dags and assets, and what is before and after one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property


class NodeKind(StrEnum):
    """What a node of the graph is."""

    ASSET = "asset"
    DAG = "dag"


class Relation(StrEnum):
    """Why a node is before another one."""

    # A task declares the asset as its outlet.
    WRITES = "writes"
    # A task made a recent event of the asset, or wrote it by an event of OpenLineage, without declaring it.
    WROTE = "wrote"
    # A task read it by an event of OpenLineage, without declaring it.
    WAS_READ_BY = "was read by"
    # The asset is in the schedule of the Dag.
    STARTS = "starts"
    # A task declares the asset as its inlet.
    IS_READ_BY = "is read by"
    # A task starts a run of the other Dag.
    TRIGGERS = "triggers"
    # A task of the other Dag is a sensor that waits for this Dag.
    IS_AWAITED_BY = "is awaited by"


# What was seen counts only beside what is declared.
_DECLARED = {Relation.WROTE: Relation.WRITES, Relation.WAS_READ_BY: Relation.IS_READ_BY}


@dataclass(frozen=True, slots=True, order=True)
class NodeKey:
    """An asset by its name, or a Dag by its id."""

    kind: NodeKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class LineageDag:
    """A Dag of the live release. `schedule` is as Airflow's UI shows it; owners are those of its tasks."""

    dag_id: str
    owners: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    schedule: str = ""
    description: str = ""
    file: str = ""
    is_paused: bool = False
    next_run: datetime | None = None


@dataclass(frozen=True, slots=True)
class LineageAsset:
    """An asset, with its last update and the Dag, task and run that made it. All are empty if nothing is known."""

    name: str
    uri: str
    group: str = ""
    updated: datetime | None = None
    by_dag: str = ""
    by_task: str = ""
    by_run: str = ""
    # Names of columns, as the last event of OpenLineage has them that named any.
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class ColumnKey:
    """A column of an asset."""

    asset: str
    column: str

    def __str__(self) -> str:
        return f"{self.asset}.{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class ColumnEdge:
    """A task makes the target from the source. `how` is the kind of the transformation, such as DIRECT."""

    source: ColumnKey
    target: ColumnKey
    dag: str
    task: str
    how: str = ""


@dataclass(frozen=True, slots=True)
class LineageEdge:
    """The target depends on the source. `tasks` are those that make it so; a schedule has none."""

    source: NodeKey
    target: NodeKey
    relation: Relation
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromiseStanding:
    """An SLA about a node, or about a task of it.

    `state` is that of the instance which is late, at risk, or missed and not made good, and then `is_broken` is set. If
    there is none, it is the state of the instance that ended last in the last two days, otherwise `due`. It is empty if
    the SLA engine has no instance. `due` is the next deadline.
    """

    rule: str
    promise: str
    severity: str
    subject: NodeKey
    task: str = ""
    state: str = ""
    due: datetime | None = None
    is_broken: bool = False


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The last runs of a Dag that the database still has: the end of the last success, and the state of the newest."""

    succeeded: datetime | None = None
    state: str = ""


@dataclass(frozen=True, slots=True)
class LineageStep:
    """A node at a distance from the node where a walk began, with the edge by which it was reached."""

    depth: int
    node: NodeKey
    edge: LineageEdge
    # The node was reached before, by another edge. What is behind it is not repeated.
    is_repeated: bool = False


@dataclass(frozen=True)
class LineageGraph:
    """All Dags and assets of a platform at one moment."""

    now: datetime
    dags: Mapping[str, LineageDag] = field(default_factory=dict)
    assets: Mapping[str, LineageAsset] = field(default_factory=dict)
    edges: tuple[LineageEdge, ...] = ()
    promises: tuple[PromiseStanding, ...] = ()
    columns: tuple[ColumnEdge, ...] = ()

    def has(self, node: NodeKey) -> bool:
        return node.name in (self.dags if node.kind is NodeKind.DAG else self.assets)

    def list_edges(self, node: NodeKey, *, down: bool) -> tuple[LineageEdge, ...]:
        """Return the edges from a node to what depends on it, or to what it depends on."""
        return (self._below if down else self._above).get(node, ())

    def list_promises(self, node: NodeKey) -> tuple[PromiseStanding, ...]:
        """Return the SLAs about a node and its tasks."""
        return self._promises.get(node, ())

    def walk(self, node: NodeKey, *, down: bool) -> Iterator[LineageStep]:
        """Yield all that is after a node, or all that is before it, depth first. A circle is followed once."""
        seen = {node}
        left = [iter(self.list_edges(node, down=down))]
        while left:
            edge = next(left[-1], None)
            if edge is None:
                left.pop()
                continue
            near = edge.target if down else edge.source
            yield LineageStep(len(left), near, edge, near in seen)
            if near not in seen:
                seen.add(near)
                left.append(iter(self.list_edges(near, down=down)))

    def find_relatives(self, node: NodeKey, *, down: bool, most: int | None = None) -> Mapping[NodeKey, int]:
        """Return each node after (or before) a node with its smallest distance, the nearest first.

        With `most`, the search ends after the distance at which so many were found.
        """
        found = {node: 0}
        layer = [node]
        while layer and (most is None or len(found) <= most):
            edges = (edge for one in layer for edge in self.list_edges(one, down=down))
            near = dict.fromkeys(edge.target if down else edge.source for edge in edges)
            depth = found[layer[0]] + 1
            layer = [one for one in near if one not in found]
            found.update(dict.fromkeys(layer, depth))
        del found[node]
        return found

    def list_column_edges(self, column: ColumnKey, *, down: bool) -> tuple[ColumnEdge, ...]:
        """Return what is made from a column, or what it is made from."""
        return (self._columns_below if down else self._columns_above).get(column, ())

    def list_columns(self, asset: str) -> tuple[ColumnKey, ...]:
        """Return the columns of an asset that are known: in the order of its schema, then those that edges name."""
        own = self.assets[asset].columns if asset in self.assets else ()
        named = sorted({one.target.column for one in self.columns if one.target.asset == asset} - set(own))
        return tuple(ColumnKey(asset, one) for one in (*own, *named))

    def walk_columns(self, column: ColumnKey, *, down: bool) -> Iterator[tuple[int, ColumnEdge, bool]]:
        """Yield each edge after a column (or before it) with its depth, and whether its column was reached before."""
        seen = {column}
        left = [iter(self.list_column_edges(column, down=down))]
        while left:
            edge = next(left[-1], None)
            if edge is None:
                left.pop()
                continue
            near = edge.target if down else edge.source
            yield len(left), edge, near in seen
            if near not in seen:
                seen.add(near)
                left.append(iter(self.list_column_edges(near, down=down)))

    @cached_property
    def _columns_below(self) -> Mapping[ColumnKey, tuple[ColumnEdge, ...]]:
        return _group_columns(self.columns, down=True)

    @cached_property
    def _columns_above(self) -> Mapping[ColumnKey, tuple[ColumnEdge, ...]]:
        return _group_columns(self.columns, down=False)

    @cached_property
    def _below(self) -> Mapping[NodeKey, tuple[LineageEdge, ...]]:
        return _group(self.edges, down=True)

    @cached_property
    def _above(self) -> Mapping[NodeKey, tuple[LineageEdge, ...]]:
        return _group(self.edges, down=False)

    @cached_property
    def _promises(self) -> Mapping[NodeKey, tuple[PromiseStanding, ...]]:
        found: defaultdict[NodeKey, list[PromiseStanding]] = defaultdict(list)
        for one in self.promises:
            found[one.subject].append(one)
        return {node: tuple(ones) for node, ones in found.items()}


def _group(edges: Iterable[LineageEdge], *, down: bool) -> Mapping[NodeKey, tuple[LineageEdge, ...]]:
    found: defaultdict[NodeKey, list[LineageEdge]] = defaultdict(list)
    for edge in sorted(edges, key=lambda one: (one.target if down else one.source, one.relation)):
        found[edge.source if down else edge.target].append(edge)
    return {node: tuple(ones) for node, ones in found.items()}


def _group_columns(edges: Iterable[ColumnEdge], *, down: bool) -> Mapping[ColumnKey, tuple[ColumnEdge, ...]]:
    found: defaultdict[ColumnKey, list[ColumnEdge]] = defaultdict(list)
    for edge in sorted(edges):
        found[edge.source if down else edge.target].append(edge)
    return {column: tuple(ones) for column, ones in found.items()}


def make_edges(found: Iterable[tuple[NodeKey, NodeKey, Relation, str]]) -> tuple[LineageEdge, ...]:
    """Return edges from relations of single tasks: one for each pair and relation, with its tasks.

    A task that wrote or read an asset and declares it is only among those that declare it. A Dag that an asset starts
    and whose tasks read it has both edges.
    """
    tasks: defaultdict[tuple[NodeKey, NodeKey, Relation], set[str]] = defaultdict(set)
    for source, target, relation, task in found:
        tasks[source, target, relation].add(task)
    for source, target, relation in tasks:
        if declared := _DECLARED.get(relation):
            tasks[source, target, relation] -= tasks.get((source, target, declared), set())
    return tuple(
        LineageEdge(source, target, relation, tuple(sorted(names - {""})))
        for (source, target, relation), names in sorted(tasks.items())
        if names
    )
