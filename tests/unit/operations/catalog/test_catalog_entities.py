"""The catalogue as entities of DataHub and OpenMetadata, held to the schemas that both publish.

The fields and their kinds are those of DataHub's models (`DataFlowInfo.pdl`, `DataJobInfo.pdl`,
`DataJobInputOutput.pdl`, `FineGrainedLineage.pdl`) and OpenMetadata's `createPipeline.json`. No server of either runs.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airfleet.errors import UsageError
from airfleet.operations.catalog import entities, site
from airfleet.operations.catalog.entities import EntityFormat
from airfleet.operations.catalog.model import Catalog, CatalogTask
from airfleet_provider.contract.lineage.graph import ColumnEdge, ColumnKey, LineageAsset
from invented_catalog import EVIL, make_catalog

REQUIRED = {
    "dataFlowInfo": {"name", "customProperties"},
    "dataJobInfo": {"name", "type", "flowUrn", "customProperties"},
    "dataJobInputOutput": {"inputDatasets", "outputDatasets"},
    "datasetProperties": {"name", "customProperties"},
    "ownership": {"owners", "lastModified"},
    "globalTags": {"tags"},
}
PIPELINE = {"name", "displayName", "description", "service", "state", "tasks", "scheduleInterval"}
TASK = {"name", "displayName", "description", "downstreamTasks", "taskType"}


def make_whole() -> Catalog:
    """Return the invented catalogue with tasks and columns."""
    catalog = make_catalog()
    tasks = (CatalogTask("fetch", "PythonOperator", "ann", downstream=("settle",)), CatalogTask("settle", "Sql", "ann"))
    dags = {**catalog.dags, "load": replace(catalog.dags["load"], tasks=tasks)}
    made = ColumnEdge(ColumnKey("s3://in/x", "a"), ColumnKey("raw", "b"), "load", "settle", "DIRECT")
    return replace(catalog, dags=dags, graph=replace(catalog.graph, columns=(made,)))


def test_datahub_gets_proposals_of_its_own_models() -> None:
    proposals = list(entities.list_proposals(make_whole()))
    aspects: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for one in proposals:
        assert one.keys() == {"entityType", "entityUrn", "changeType", "aspectName", "aspect"}
        assert one["entityUrn"].startswith(f"urn:li:{one['entityType']}:")
        assert one["aspect"]["json"].keys() >= REQUIRED[one["aspectName"]]
        aspects[one["entityUrn"]][one["aspectName"]] = one["aspect"]["json"]
    load = aspects["urn:li:dataFlow:(airflow,load,PROD)"]
    assert load["dataFlowInfo"]["description"].startswith("### load")
    assert [one["owner"] for one in load["ownership"]["owners"]] == ["urn:li:corpuser:ann"]
    assert load["globalTags"] == {"tags": [{"tag": "urn:li:tag:ingest"}]}
    settle = aspects["urn:li:dataJob:(urn:li:dataFlow:(airflow,load,PROD),settle)"]
    raw = "urn:li:dataset:(urn:li:dataPlatform:s3,lake/raw,PROD)"
    assert settle["dataJobInputOutput"]["outputDatasets"] == [raw]
    [fine] = settle["dataJobInputOutput"]["fineGrainedLineages"]
    assert fine["downstreams"] == [f"urn:li:schemaField:({raw},b)"]
    assert all(
        isinstance(value, str) for one in aspects[raw].values() for value in one.get("customProperties", {}).values()
    )


@pytest.mark.parametrize(
    ("uri", "urn"),
    [
        ("postgres://wh:5432/dwh/public/sales", "urn:li:dataset:(urn:li:dataPlatform:postgres,dwh.public.sales,PROD)"),
        ("postgresql://wh/dwh.public.sales", "urn:li:dataset:(urn:li:dataPlatform:postgres,dwh.public.sales,PROD)"),
        ("s3://lake/a/b.parquet", "urn:li:dataset:(urn:li:dataPlatform:s3,lake/a/b.parquet,PROD)"),
        ("warehouse.sales", "urn:li:dataset:(urn:li:dataPlatform:airflow,the name,PROD)"),
    ],
)
def test_a_table_has_the_name_that_datahubs_own_sources_give_it(uri: str, urn: str) -> None:
    assert entities.name_dataset(LineageAsset("the name", uri)) == urn


def test_no_name_of_a_user_breaks_out_of_a_urn() -> None:
    urns = [one["entityUrn"] for one in entities.list_proposals(make_whole())]
    for urn in urns:
        assert urn.count("(") == urn.count(")")
        assert re.fullmatch(r"urn:li:\w+:\(.*\)", urn, re.DOTALL)
        inner = urn.removeprefix("urn:li:dataJob:(").removesuffix(")") if ":dataJob:" in urn else urn
        assert len(inner.split(",")) == (4 if ":dataJob:" in urn else 3), urn
    assert any("alert%281%29" in urn for urn in urns)


def test_openmetadata_gets_bodies_of_its_own_schema() -> None:
    catalog = make_whole()
    service = entities.make_service(catalog)
    assert service["serviceType"] == service["connection"]["config"]["type"] == "CustomPipeline"
    bodies = {name: entities.make_pipeline(catalog, dag) for name, dag in catalog.dags.items()}
    for body in bodies.values():
        assert body.keys() <= PIPELINE, "the schema allows no other property"
        assert 1 <= len(body["name"]) <= 256
        assert "::" not in body["name"]
        assert body["service"] == service["name"]
        assert all(task.keys() <= TASK for task in body["tasks"])
    assert bodies["load"]["tasks"][0]["downstreamTasks"] == ["settle"]
    assert "Owners: ann" in bodies["load"]["description"]
    assert (bodies["load"]["state"], bodies["marts"]["state"]) == ("Active", "Inactive")
    assert (
        entities.make_pipeline(
            catalog, replace(catalog.dags[EVIL], facts=replace(catalog.dags[EVIL].facts, dag_id="a::b"))
        )["name"]
        == "a__b"
    )


@pytest.mark.parametrize(("form", "files"), [(EntityFormat.DATAHUB, 1), (EntityFormat.OPENMETADATA, 2)])
def test_a_build_writes_whole_files_beside_the_pages_and_into_no_other_folder(
    tmp_path: Path, form: EntityFormat, files: int
) -> None:
    site.write(make_whole(), tmp_path / "out")
    pages = set((tmp_path / "out").rglob("*.html"))
    written = site.write_entities(make_whole(), tmp_path / "out", form)
    assert len(written) == files
    assert all(json.loads(path.read_text("utf-8")) for path in written)
    assert pages == set((tmp_path / "out").rglob("*.html"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    with pytest.raises(UsageError):
        site.write_entities(make_whole(), tmp_path / "mine", form)
