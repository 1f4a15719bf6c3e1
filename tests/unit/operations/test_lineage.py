"""Who is hurt if an asset is late, and what `airfleet lineage` says of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airfleet.cli import lineage as command
from airfleet.errors import UsageError
from airfleet.operations import lineage
from airfleet_provider.contract.lineage.graph import (
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

NOW = datetime(2026, 11, 29, 6, tzinfo=UTC)
RAW, MARTS = NodeKey(NodeKind.ASSET, "raw"), NodeKey(NodeKind.DAG, "marts")
REPORT, TABLE = NodeKey(NodeKind.DAG, "report"), NodeKey(NodeKind.DAG, "table")
LOAD = NodeKey(NodeKind.DAG, "load")


def make_graph(**more: LineageAsset) -> LineageGraph:
    owners = {"load": ("ann",), "marts": ("bob",), "report": ("cy", "di"), "table": ()}
    return LineageGraph(
        now=NOW,
        dags={name: LineageDag(name, owned) for name, owned in owners.items()},
        assets={"raw": LineageAsset("raw", "s3://lake/raw", "", NOW - timedelta(hours=3), "load", "settle"), **more},
        edges=make_edges(
            [
                (LOAD, RAW, Relation.WRITES, "settle"),
                (RAW, MARTS, Relation.STARTS, ""),
                (RAW, TABLE, Relation.IS_READ_BY, "draw"),
                (MARTS, REPORT, Relation.TRIGGERS, "go"),
            ]
        ),
        promises=(
            PromiseStanding("morning", "finished by 07:00 UTC", "critical", REPORT, "", "at-risk", NOW, is_broken=True),
            PromiseStanding("short", "no longer than 5 min", "warning", MARTS),
        ),
    )


def make_view(graph: LineageGraph, node: NodeKey) -> lineage.LineageView:
    runs = {"marts": RunRecord(NOW - timedelta(minutes=5), "failed")}
    return lineage.LineageView(graph, node, runs, lineage.list_hurt(graph, node))


def test_who_has_promised_something_comes_first_the_nearest_deadline_before_the_others() -> None:
    hurt = lineage.list_hurt(make_graph(), RAW)
    assert [(one.node, one.owners) for one in hurt] == [(REPORT, ("cy", "di")), (MARTS, ("bob",)), (TABLE, ())]
    assert lineage.list_hurt(make_graph(), REPORT) == ()


def test_an_asset_is_found_by_its_name_and_by_its_uri() -> None:
    assert lineage.find_node(make_graph(), "raw") == RAW
    assert lineage.find_node(make_graph(), "s3://lake/raw") == RAW


def test_a_name_of_two_things_is_asked_for() -> None:
    graph = make_graph(marts=LineageAsset("marts", "marts"))
    with pytest.raises(UsageError) as caught:
        lineage.find_node(graph, "marts")
    assert "airfleet lineage dag:marts" in str(caught.value)
    assert lineage.find_node(graph, "asset:marts") == NodeKey(NodeKind.ASSET, "marts")


def test_a_command_to_copy_quotes_the_names_of_assets() -> None:
    names = ("x; rm -rf ~", "y")
    with pytest.raises(UsageError) as caught:
        lineage.find_node(
            make_graph(**{name: LineageAsset(name, "s3://lake/both") for name in names}), "s3://lake/both"
        )
    assert caught.value.hint == "airfleet lineage 'asset:x; rm -rf ~' or airfleet lineage asset:y"


def test_an_unknown_name_has_what_is_near() -> None:
    with pytest.raises(UsageError) as caught:
        lineage.find_node(make_graph(), "reprot")
    assert "report" in str(caught.value)


def test_the_tree_says_who_writes_who_reads_and_how_old_the_asset_is() -> None:
    text = "\n".join(command.list_lines(make_view(make_graph(), RAW), up=True, down=True))
    assert "asset raw  updated 2026-11-29 03:00 UTC, 3 h 0 min ago by load.settle" in text
    assert "  dag load  [written by load in settle]  owner ann, no success" in text
    assert (
        "  dag marts  [starts marts]  owner bob, last success 2026-11-29 05:55 UTC, 5 min ago, last run failed" in text
    )
    assert "    dag report  [triggers report in go]" in text
    assert (
        "  dag report  owner cy, di  ! SLA morning: finished by 07:00 UTC: at-risk, next 2026-11-29 06:00 UTC" in text
    )


def test_names_cannot_control_the_terminal() -> None:
    graph = make_graph(evil=LineageAsset("evil\x1b[31m\nroot", "u"))
    lines = [*command.list_assets(graph)]
    assert len(lines) == 2
    assert "\x1b" not in "".join(lines)


def test_json_has_only_the_direction_that_is_asked_for() -> None:
    view = make_view(make_graph(), RAW)
    up = command.to_json(view, up=True, down=False)
    assert [one["name"] for one in up["nodes"]] == ["raw", "load"]
    assert up["hurt"] == []
    down = command.to_json(view, up=False, down=True)
    assert {one["name"] for one in down["nodes"]} == {"raw", "marts", "report", "table"}
    assert [one["name"] for one in down["hurt"]] == ["report", "marts", "table"]


def test_a_platform_without_assets_says_so() -> None:
    assert list(command.list_assets(replace(make_graph(), assets={}))) == ["No Dag names an asset."]
