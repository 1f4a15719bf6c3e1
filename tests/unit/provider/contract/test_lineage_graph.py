"""A graph of Dags and assets is followed in both directions, once through each circle."""

from __future__ import annotations

from datetime import UTC, datetime

from airfleet_provider.contract.lineage.graph import (
    LineageAsset,
    LineageDag,
    LineageGraph,
    NodeKey,
    NodeKind,
    Relation,
    make_edges,
)

NOW = datetime(2026, 11, 29, 6, tzinfo=UTC)


def dag(name: str) -> NodeKey:
    return NodeKey(NodeKind.DAG, name)


def asset(name: str) -> NodeKey:
    return NodeKey(NodeKind.ASSET, name)


def make_graph(*found: tuple[NodeKey, NodeKey, Relation, str]) -> LineageGraph:
    nodes = {node for one in found for node in one[:2]}
    return LineageGraph(
        NOW,
        {one.name: LineageDag(one.name) for one in nodes if one.kind is NodeKind.DAG},
        {one.name: LineageAsset(one.name, f"s3://lake/{one.name}") for one in nodes if one.kind is NodeKind.ASSET},
        make_edges(found),
    )


def test_what_is_before_and_after_a_node_is_found() -> None:
    graph = make_graph(
        (dag("load"), asset("raw"), Relation.WRITES, "settle"),
        (asset("raw"), dag("marts"), Relation.STARTS, ""),
        (dag("marts"), asset("clean"), Relation.WRITES, "publish"),
    )
    assert graph.find_relatives(asset("raw"), down=True) == {dag("marts"): 1, asset("clean"): 2}
    assert graph.find_relatives(asset("raw"), down=False) == {dag("load"): 1}


def test_a_circle_ends() -> None:
    graph = make_graph(
        (dag("a"), asset("x"), Relation.WRITES, "t"),
        (asset("x"), dag("a"), Relation.STARTS, ""),
        (dag("a"), dag("a"), Relation.TRIGGERS, "again"),
    )
    assert [(one.depth, one.node, one.is_repeated) for one in graph.walk(dag("a"), down=True)] == [
        (1, asset("x"), False),
        (2, dag("a"), True),
        (1, dag("a"), True),
    ]
    assert graph.find_relatives(dag("a"), down=True) == {asset("x"): 1}


def test_a_chain_of_thousands_is_walked() -> None:
    graph = make_graph(*((dag(f"d{n:05}"), dag(f"d{n + 1:05}"), Relation.TRIGGERS, "t") for n in range(3000)))
    assert len(list(graph.walk(dag("d00000"), down=True))) == 3000


def test_two_tasks_of_a_dag_make_one_edge_and_what_is_declared_is_not_told_twice() -> None:
    edges = make_edges(
        [
            (dag("a"), asset("x"), Relation.WRITES, "t2"),
            (dag("a"), asset("x"), Relation.WRITES, "t1"),
            (dag("a"), asset("x"), Relation.WROTE, "t1"),
            (dag("a"), asset("y"), Relation.WROTE, "t1"),
        ]
    )
    assert [(one.target.name, one.relation, one.tasks) for one in edges] == [
        ("x", Relation.WRITES, ("t1", "t2")),
        ("y", Relation.WROTE, ("t1",)),
    ]
