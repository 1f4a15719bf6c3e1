"""Reads the catalogue from the metadata database of a platform."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from airfleet.operations import explanation
from airfleet.operations.catalog.model import Catalog, CatalogDag, CatalogTask
from airfleet.operations.explanation import ReadablePlatform
from airfleet.releases.checks.serialised import ParsedDag, ParsedTask
from airfleet_provider.contract.explanation.reading import Query
from airfleet_provider.contract.lineage import reading
from airfleet_provider.contract.lineage.graph import LineageEdge, LineageGraph, NodeKey, NodeKind, Relation, RunRecord

# Where a Dag or a task may have its text, the most usual first.
DOCS = ("doc_md", "doc", "doc_rst", "doc_yaml", "doc_json")


def look(place: ReadablePlatform) -> Catalog:
    """Return the catalogue of a platform. Raises AirfleetError if the database cannot be read."""
    with explanation.open_database(place) as database, database.take() as query:
        graph = reading.read(query, place.fleet.slas)
        return Catalog(place.fleet.name, graph, _read_dags(query, graph))


def _read_dags(query: Query, graph: LineageGraph) -> Mapping[str, CatalogDag]:
    names = sorted(graph.dags)
    runs = reading.read_runs(query, names)
    bodies = {name: make_dag(graph, name, data) for name, data in reading.read_structures(query, names)}
    return {
        name: CatalogDag(graph.dags[name], doc, tasks, runs.get(name, RunRecord()))
        for name in names
        for doc, tasks in [bodies.get(name, ("", ()))]
    }


def make_dag(graph: LineageGraph, name: str, data: Mapping[str, Any]) -> tuple[str, tuple[CatalogTask, ...]]:
    """Return the text of a Dag and its tasks from its serialised form. Assets come from the graph."""
    parsed = ParsedDag(name, "", data)
    tasks = parsed.tasks
    upstream: defaultdict[str, set[str]] = defaultdict(set)
    for task in tasks:
        for below in task.fields.get("downstream_task_ids") or ():
            upstream[below].add(task.id)
    node = NodeKey(NodeKind.DAG, name)
    reads = _by_task(graph.list_edges(node, down=False), Relation.IS_READ_BY)
    writes = _by_task(graph.list_edges(node, down=True), Relation.WRITES)
    return _find_doc(parsed.properties), tuple(
        CatalogTask(
            task_id=task.id,
            operator=str(task.fields.get("task_type") or ""),
            owner=str(task.fields.get("owner") or ""),
            doc=_find_doc(task.fields),
            is_mapped=bool(task.fields.get("_is_mapped")),
            upstream=tuple(sorted(upstream[task.id])),
            downstream=_list_below(task),
            reads=reads.get(task.id, ()),
            writes=writes.get(task.id, ()),
        )
        for task in tasks
    )


def _list_below(task: ParsedTask) -> tuple[str, ...]:
    return tuple(sorted(map(str, task.fields.get("downstream_task_ids") or ())))


def _by_task(edges: tuple[LineageEdge, ...], relation: Relation) -> Mapping[str, tuple[str, ...]]:
    """Return the names of assets by the tasks of one Dag that read or write them."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for edge in edges:
        if edge.relation is relation:
            for task in edge.tasks:
                found[task].append((edge.source if relation is Relation.IS_READ_BY else edge.target).name)
    return {task: tuple(names) for task, names in found.items()}


def _find_doc(fields: Mapping[str, Any]) -> str:
    return next((str(fields[name]) for name in DOCS if fields.get(name)), "")
