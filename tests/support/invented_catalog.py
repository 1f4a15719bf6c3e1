"""A catalogue of invented Dags and assets, one of each with names that attack whoever shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airfleet.operations.catalog.model import Catalog, CatalogDag, CatalogTask
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
EVIL = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}/../../etc"


def dag_node(name: str) -> NodeKey:
    return NodeKey(NodeKind.DAG, name)


def asset_node(name: str) -> NodeKey:
    return NodeKey(NodeKind.ASSET, name)


def make_catalog(*more: str) -> Catalog:
    """Return a chain of three Dags, a Dag and an asset with hostile names that form a circle, and other Dags."""
    load, marts, evil = dag_node("load"), dag_node("marts"), dag_node(EVIL)
    dags = {
        "load": LineageDag("load", ("ann",), ("ingest",), "0 3 * * *", "Loads the orders of a day", "dags/load.py"),
        "marts": LineageDag("marts", ("bob",), (), "Asset", is_paused=True),
        EVIL: LineageDag(EVIL, (EVIL,), (EVIL,), EVIL, EVIL, EVIL),
        **{name: LineageDag(name, ("airflow",)) for name in more},
    }
    assets = {
        "raw": LineageAsset("raw", "s3://lake/raw", "", NOW - timedelta(hours=3), "load", "settle", "r1"),
        EVIL: LineageAsset(EVIL, "javascript:alert(1)", EVIL, NOW, EVIL, EVIL, EVIL),
    }
    graph = LineageGraph(
        now=NOW,
        dags=dags,
        assets=assets,
        edges=make_edges(
            [
                (load, asset_node("raw"), Relation.WRITES, "settle"),
                (asset_node("raw"), marts, Relation.STARTS, ""),
                (evil, asset_node(EVIL), Relation.WRITES, EVIL),
                (asset_node(EVIL), evil, Relation.STARTS, ""),
            ]
        ),
        promises=(
            PromiseStanding(
                "morning", "fresh by 05:00 UTC", "critical", asset_node("raw"), "", "late", NOW, is_broken=True
            ),
            PromiseStanding(EVIL, EVIL, "critical", evil, EVIL),
        ),
    )
    tasks = {
        "load": (
            CatalogTask("fetch_orders", "PythonOperator", "ann", "Fetches.", downstream=("settle",)),
            CatalogTask("settle", "PythonOperator", "ann", upstream=("fetch_orders",), writes=("raw",)),
        ),
        EVIL: (CatalogTask(EVIL, EVIL, EVIL, EVIL, True, (EVIL,), (EVIL,), (EVIL,), (EVIL,)),),
    }
    docs = {"load": "### load\n\nOrders come from the **shop**.", EVIL: EVIL}
    return Catalog(
        "shop",
        graph,
        {
            name: CatalogDag(dags[name], docs.get(name, ""), tasks.get(name, ()), RunRecord(NOW, "success"))
            for name in sorted(dags)
        },
    )
