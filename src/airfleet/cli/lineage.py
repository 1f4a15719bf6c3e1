"""`airfleet lineage`: where data comes from, what is made of it, and who is hurt if it is late."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from airfleet.cli import options
from airfleet.errors import UsageError
from airfleet_provider.contract import wording
from airfleet_provider.contract.lineage import encoding
from airfleet_provider.contract.lineage.graph import (
    ColumnEdge,
    ColumnKey,
    LineageEdge,
    LineageGraph,
    LineageStep,
    NodeKey,
    NodeKind,
    PromiseStanding,
    Relation,
)
from airfleet_provider.contract.text import one_line

if TYPE_CHECKING:
    from airfleet.operations.lineage import HurtNode, LineageView

MOST_HURT = 20
MOST_COLUMNS = 100


@click.command("lineage", short_help="Show where data comes from, and who is hurt if it is late.")
@click.argument("name", required=False, metavar="[ASSET|DAG]")
@click.option("--up", is_flag=True, help="Only what it depends on.")
@click.option("--down", is_flag=True, help="Only what depends on it.")
@click.option("--column", metavar="NAME", help="Only this column of the asset, as far as it came and went.")
@options.project_option
@options.state
@options.as_json
def command(
    name: str | None, up: bool, down: bool, column: str | None, project: Path, state: Path | None, as_json: bool
) -> None:
    """Show what an asset or a Dag depends on, what depends on it, and who is hurt if it is late.

    The graph comes from the outlets, inlets and schedules of the Dags that are live, from the tasks that made the last
    events of each asset, and from sensors and triggers between Dags. With `openlineage` in fleet.yaml, tables, files
    and columns of the events of tasks are in it too. It only reads.

    The name is the name or the URI of an asset, or the id of a Dag. Without a name, the command lists all assets.

    \b
    Example:
      airfleet lineage
      airfleet lineage warehouse.flights_marts
      airfleet lineage flights_ingest --down --json
      airfleet lineage warehouse.flights_marts --column delay --up
    """
    from airfleet.operations import explanation, lineage  # noqa: PLC0415 - `--help` needs none of it

    place = explanation.find_place(project, state)
    if name is None:
        if up or down or column:
            raise UsageError("--up, --down and --column need a name", hint="airfleet lineage ASSET --up")
        graph = lineage.read_graph(place)
        if as_json:
            assets = [encoding.encode_asset(graph, one) for one in sorted(graph.assets)]
            click.echo(json.dumps({"at": graph.now.isoformat(), "assets": assets}, indent=2))
        else:
            for line in list_assets(graph):
                click.echo(line)
        return
    view = lineage.look(place, name)
    shows_up, shows_down = up or not down, down or not up
    if column is not None:
        key = lineage.find_column(view, column)
        edges = list_column_steps(view, key, up=shows_up, down=shows_down)
        if as_json:
            found = [encoding.encode_column_edge(edge) for edge in dict.fromkeys(edge for _, _, edge, _ in edges)]
            click.echo(json.dumps({"at": view.graph.now.isoformat(), "column": str(key), "edges": found}, indent=2))
        else:
            for line in list_column_lines(key, edges, up=shows_up, down=shows_down):
                click.echo(line)
        return
    if as_json:
        click.echo(json.dumps(to_json(view, up=shows_up, down=shows_down), indent=2))
        return
    for line in list_lines(view, up=shows_up, down=shows_down):
        click.echo(line)


def list_assets(graph: LineageGraph) -> Iterator[str]:
    """Yield one line for each asset, for a terminal."""
    if not graph.assets:
        yield "No Dag names an asset."
    for name in sorted(graph.assets):
        node = NodeKey(NodeKind.ASSET, name)
        below = graph.find_relatives(node, down=True)
        dags = sum(one.kind is NodeKind.DAG for one in below)
        told = f"{wording.count(dags, 'Dag')} after it" if dags else "nothing after it"
        yield one_line(f"{name}  {_tell_update(graph, name)}; {told}", 1000)
        for promise in graph.list_promises(node):
            yield f"  {_tell_promise(promise)}"


def list_lines(view: LineageView, *, up: bool, down: bool) -> Iterator[str]:
    """Yield the lineage of a node for a terminal. Names are those of users, so they are escaped."""
    graph, node = view.graph, view.node
    yield one_line(f"{node}  {_describe(view, node)}", 1000)
    for promise in graph.list_promises(node):
        yield f"  {_tell_promise(promise)}"
    yield from _list_columns(view)
    if up:
        yield ""
        yield from _list_tree(view, "depends on", down=False)
    if down:
        yield ""
        yield from _list_tree(view, "after it", down=True)
        if view.hurt:
            yield ""
            yield "hurt if it is late:"
            for one in view.hurt[:MOST_HURT]:
                yield _tell_hurt(one)
        if len(view.hurt) > MOST_HURT:
            yield f"  {len(view.hurt) - MOST_HURT} more: --json has all"


def list_column_steps(
    view: LineageView, key: ColumnKey, *, up: bool, down: bool
) -> list[tuple[bool, int, ColumnEdge, bool]]:
    """Return each edge before and after a column: whether it is after it, its depth, whether it was there before."""
    return [
        (is_down, *step)
        for is_down, wanted in ((False, up), (True, down))
        if wanted
        for step in view.graph.walk_columns(key, down=is_down)
    ]


def list_column_lines(
    key: ColumnKey, steps: list[tuple[bool, int, ColumnEdge, bool]], *, up: bool, down: bool
) -> Iterator[str]:
    """Yield the lineage of a column for a terminal. Names are those of users, so they are escaped."""
    yield one_line(f"column {key}", 1000)
    for is_down, wanted, title in ((False, up, "made from"), (True, down, "used for")):
        own = [step for step in steps if step[0] == is_down]
        if wanted:
            yield ""
            yield f"{title}:" if own else f"{title}: nothing that is known"
        for _, depth, edge, is_repeated in own:
            near = edge.target if is_down else edge.source
            how = f", {edge.how.lower()}" if edge.how else ""
            above = " (see above)" if is_repeated else ""
            yield one_line(f"{'  ' * depth}{near}  [by {edge.dag}.{edge.task}{how}]{above}", 1000)


def _list_columns(view: LineageView) -> Iterator[str]:
    """Yield the columns of an asset, with what each is made from."""
    columns = view.graph.list_columns(view.node.name) if view.node.kind is NodeKind.ASSET else ()
    if not columns:
        return
    yield ""
    yield "columns:"
    for column in columns[:MOST_COLUMNS]:
        edges = view.graph.list_column_edges(column, down=False)
        sources = ", ".join(dict.fromkeys(str(edge.source) for edge in edges))
        yield one_line(f"  {column.column}" + (f"  from {sources}" if sources else ""), 1000)
    if len(columns) > MOST_COLUMNS:
        yield f"  {len(columns) - MOST_COLUMNS} more: --json has all"


def _list_tree(view: LineageView, title: str, *, down: bool) -> Iterator[str]:
    steps = list(view.graph.walk(view.node, down=down))
    yield f"{title}:" if steps else f"{title}: nothing"
    for step in steps:
        above = " (see above)" if step.is_repeated else f"  {_describe(view, step.node)}"
        yield one_line(f"{'  ' * step.depth}{step.node}  [{_tell_edge(step)}]{above}", 1000)


def _tell_edge(step: LineageStep) -> str:
    edge: LineageEdge = step.edge
    tasks = f" in {', '.join(edge.tasks)}" if edge.tasks else ""
    if edge.relation in (Relation.WRITES, Relation.WROTE):
        return f"{'written' if edge.relation is Relation.WRITES else 'was written'} by {edge.source.name}{tasks}"
    return f"{edge.relation} {edge.target.name}{tasks}"


def _describe(view: LineageView, node: NodeKey) -> str:
    graph = view.graph
    if node.kind is NodeKind.ASSET:
        return _tell_update(graph, node.name)
    dag = graph.dags[node.name]
    record = view.runs.get(node.name)
    words = [
        f"owner {', '.join(dag.owners)}" if dag.owners else "no owner",
        f"last success {_tell_moment(graph.now, record.succeeded)}" if record and record.succeeded else "no success",
        f"last run {record.state}" if record and record.state not in ("", "success") else "",
        "paused" if dag.is_paused else "",
    ]
    return ", ".join(filter(None, words))


def _tell_update(graph: LineageGraph, name: str) -> str:
    asset = graph.assets[name]
    if asset.updated is None:
        return "never updated"
    by = f" by {'.'.join(filter(None, (asset.by_dag, asset.by_task)))}" if asset.by_dag else ""
    return f"updated {_tell_moment(graph.now, asset.updated)}{by}"


def _tell_moment(now: datetime, moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC, {wording.duration(max(0.0, (now - moment).total_seconds()))} ago"


def _tell_promise(one: PromiseStanding) -> str:
    mark = "!" if one.is_broken else " "
    task = f" (tasks {one.task})" if one.task else ""
    state = one.state or "nothing to judge yet"
    due = f", next {one.due:%Y-%m-%d %H:%M} UTC" if one.due else ""
    return one_line(f"{mark} SLA {one.rule}: {one.promise}{task}: {state}{due}")


def _tell_hurt(one: HurtNode) -> str:
    owners = ", ".join(one.owners) or "nobody"
    promises = "; ".join(_tell_promise(promise).strip() for promise in one.promises) or "promised nothing"
    return one_line(f"  {one.node}  owner {owners}  {promises}", 1000)


def to_json(view: LineageView, *, up: bool, down: bool) -> dict[str, Any]:
    """Return the lineage as an object that JSON knows: nodes, the edges between them, and who is hurt."""
    graph = view.graph
    near = {view.node}
    for wanted, direction in ((up, False), (down, True)):
        if wanted:
            near.update(graph.find_relatives(view.node, down=direction))
    return {
        "at": graph.now.isoformat(),
        "subject": encoding.encode_key(view.node),
        "nodes": [
            encoding.encode_asset(graph, one.name)
            if one.kind is NodeKind.ASSET
            else encoding.encode_dag(graph, one.name, view.runs.get(one.name))
            for one in sorted(near)
        ],
        "edges": [encoding.encode_edge(edge) for edge in graph.edges if edge.source in near and edge.target in near],
        "columns": [
            encoding.encode_column_edge(edge)
            for edge in graph.columns
            if {edge.source.asset, edge.target.asset} <= {one.name for one in near if one.kind is NodeKind.ASSET}
        ],
        "hurt": [
            {
                **encoding.encode_key(one.node),
                "depth": one.depth,
                "owners": list(one.owners),
                "due": encoding.encode_moment(one.due),
                "promises": [encoding.encode_promise(promise) for promise in one.promises],
            }
            for one in (view.hurt if down else ())
        ],
    }
