"""The catalogue as files that DataHub and OpenMetadata read: bodies of their documented schemas. Pure functions.

DataHub gets metadata change proposals, as its source `file` reads them. OpenMetadata gets the bodies of its API.
Owners, tags and tables of OpenMetadata are references by ids that only its server knows, so owners and tags are in
its descriptions, and lineage comes to it by events.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from airfleet.operations.catalog.model import Catalog, CatalogDag, CatalogTask
from airfleet_provider.contract.lineage.graph import ColumnEdge, LineageAsset, NodeKey, NodeKind, Relation

Json = dict[str, Any]

# DataHub's names of environments are its own; this is its default.
ENVIRONMENT = "PROD"
# Characters that have a meaning in a URN of DataHub, which percent signs keep.
_RESERVED = {ord(one): f"%{ord(one):02X}" for one in "%,()"} | {0x241F: "%E2%90%9F"}
# What DataHub calls platforms that URIs name otherwise.
_PLATFORMS = {"postgresql": "postgres", "s3a": "s3", "gs": "gcs", "awsathena": "athena"}
_READS = frozenset({Relation.IS_READ_BY, Relation.WAS_READ_BY})
_WRITES = frozenset({Relation.WRITES, Relation.WROTE})
_LONGEST_OPENMETADATA_NAME = 256


class EntityFormat(StrEnum):
    """A program whose entities a build can write."""

    DATAHUB = "datahub"
    OPENMETADATA = "openmetadata"


def list_files(catalog: Catalog, form: EntityFormat) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each file."""
    if form is EntityFormat.DATAHUB:
        yield "datahub.json", _render(list(list_proposals(catalog)))
    else:
        yield "openmetadata-service.json", _render(make_service(catalog))
        yield "openmetadata-pipelines.json", _render([make_pipeline(catalog, dag) for dag in catalog.dags.values()])


def _render(body: object) -> str:
    return json.dumps(body, indent=1) + "\n"


def name_flow(dag: str) -> str:
    """Return DataHub's URN of a Dag."""
    return f"urn:li:dataFlow:(airflow,{dag.translate(_RESERVED)},{ENVIRONMENT})"


def name_job(dag: str, task: str) -> str:
    """Return DataHub's URN of a task."""
    return f"urn:li:dataJob:({name_flow(dag)},{task.translate(_RESERVED)})"


def name_dataset(asset: LineageAsset) -> str:
    """Return DataHub's URN of an asset: for a URI with a scheme, that of the table or file that it names.

    DataHub's own sources write a table as `database.schema.table` and an object of a store as `bucket/key`.
    """
    scheme, mark, rest = (asset.uri or asset.name).partition("://")
    if not mark or not rest:
        platform, name = "airflow", asset.name
    else:
        platform = _PLATFORMS.get(scheme, scheme)
        host, _, path = rest.partition("/")
        is_store = platform in ("s3", "gcs", "abs", "hdfs", "file")
        name = f"{host}/{path}".strip("/") if is_store or not path else path.strip("/").replace("/", ".")
    return f"urn:li:dataset:(urn:li:dataPlatform:{platform.translate(_RESERVED)},{name.translate(_RESERVED)},PROD)"


def list_proposals(catalog: Catalog) -> Iterator[Json]:
    """Yield the proposals of all Dags, tasks and assets for DataHub."""
    for asset in catalog.assets:
        urn = name_dataset(asset)
        about = {"uri": asset.uri, "group": asset.group, "columns": ", ".join(asset.columns)}
        if asset.updated:
            about["last_update"] = asset.updated.isoformat()
        yield _propose(urn, "datasetProperties", {"name": asset.name, "customProperties": _keep(about)})
        yield from _list_owners(urn, catalog, catalog.list_asset_owners(asset.name))
    for dag in catalog.dags.values():
        yield from _list_dag(catalog, dag)
        yield from _list_tasks(catalog, dag)


def _propose(urn: str, aspect: str, body: Json) -> Json:
    return {
        "entityType": urn.split(":")[2],
        "entityUrn": urn,
        "changeType": "UPSERT",
        "aspectName": aspect,
        "aspect": {"json": body},
    }


def _keep(values: Mapping[str, object]) -> dict[str, str]:
    """Return what DataHub takes as custom properties: texts."""
    return {name: str(value) for name, value in values.items() if value not in ("", None)}


def _list_owners(urn: str, catalog: Catalog, owners: tuple[str, ...]) -> Iterator[Json]:
    if owners:
        at = {"time": int(catalog.graph.now.timestamp() * 1000), "actor": "urn:li:corpuser:airfleet"}
        named = [{"owner": f"urn:li:corpuser:{one.translate(_RESERVED)}", "type": "TECHNICAL_OWNER"} for one in owners]
        yield _propose(urn, "ownership", {"owners": named, "lastModified": at})


def _list_dag(catalog: Catalog, dag: CatalogDag) -> Iterator[Json]:
    facts, urn = dag.facts, name_flow(dag.facts.dag_id)
    about: dict[str, object] = {
        "schedule": facts.schedule,
        "file": facts.file,
        "is_paused": str(facts.is_paused).lower(),
        "last_success": dag.runs.succeeded.isoformat() if dag.runs.succeeded else "",
        "platform": catalog.name,
        **_tell_promises(catalog, dag.node),
    }
    body = {"name": facts.dag_id, "customProperties": _keep(about)}
    if text := dag.doc or facts.description:
        body["description"] = text
    yield _propose(urn, "dataFlowInfo", body)
    yield from _list_owners(urn, catalog, facts.owners)
    if facts.tags:
        tags = [{"tag": f"urn:li:tag:{one.translate(_RESERVED)}"} for one in facts.tags]
        yield _propose(urn, "globalTags", {"tags": tags})


def _tell_promises(catalog: Catalog, node: NodeKey) -> dict[str, object]:
    return {
        f"sla_{one.rule}": f"{one.promise}: {one.state or 'nothing to judge yet'}"
        for one in catalog.graph.list_promises(node)
    }


def _list_tasks(catalog: Catalog, dag: CatalogDag) -> Iterator[Json]:
    name = dag.facts.dag_id
    reads = _list_by_task(catalog, dag, _READS, down=False)
    writes = _list_by_task(catalog, dag, _WRITES, down=True)
    columns: defaultdict[str, list[ColumnEdge]] = defaultdict(list)
    for edge in catalog.graph.columns:
        if edge.dag == name:
            columns[edge.task].append(edge)
    for task in dag.tasks:
        urn = name_job(name, task.task_id)
        about = {"operator": task.operator, "is_mapped": "true" if task.is_mapped else ""}
        body: Json = {"name": task.task_id, "type": {"string": "COMMAND"}, "customProperties": _keep(about)}
        if task.doc:
            body["description"] = task.doc
        yield _propose(urn, "dataJobInfo", {**body, "flowUrn": name_flow(name)})
        yield from _list_owners(urn, catalog, (task.owner,) if task.owner else ())
        flows: Json = {
            "inputDatasets": reads.get(task.task_id, []),
            "outputDatasets": writes.get(task.task_id, []),
            "inputDatajobs": [name_job(name, one) for one in task.upstream],
        }
        if own := columns.get(task.task_id):
            flows["fineGrainedLineages"] = [_make_fine(catalog, edge) for edge in own]
        yield _propose(urn, "dataJobInputOutput", flows)


def _list_by_task(
    catalog: Catalog, dag: CatalogDag, relations: frozenset[Relation], *, down: bool
) -> Mapping[str, list[str]]:
    """Return the URNs of the assets that each task reads or writes, declared or seen."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for edge in catalog.graph.list_edges(dag.node, down=down):
        near = edge.target if down else edge.source
        if edge.relation in relations and near.kind is NodeKind.ASSET:
            for task in edge.tasks:
                found[task][name_dataset(catalog.graph.assets[near.name])] = None
    return {task: list(urns) for task, urns in found.items()}


def _make_fine(catalog: Catalog, edge: ColumnEdge) -> Json:
    body: Json = {
        "upstreamType": "FIELD_SET",
        "upstreams": [_name_field(catalog, edge.source.asset, edge.source.column)],
        "downstreamType": "FIELD",
        "downstreams": [_name_field(catalog, edge.target.asset, edge.target.column)],
        "confidenceScore": 1.0,
    }
    return {**body, "transformOperation": edge.how} if edge.how else body


def _name_field(catalog: Catalog, asset: str, column: str) -> str:
    known = catalog.graph.assets.get(asset) or LineageAsset(asset, asset)
    return f"urn:li:schemaField:({name_dataset(known)},{column.translate(_RESERVED)})"


def make_service(catalog: Catalog) -> Json:
    """Return the body with which OpenMetadata makes the service that all pipelines are of."""
    return {
        "name": _name(catalog.name),
        "serviceType": "CustomPipeline",
        "description": f"Airflow, run by airfleet: {catalog.name}",
        "connection": {"config": {"type": "CustomPipeline"}},
    }


def make_pipeline(catalog: Catalog, dag: CatalogDag) -> Json:
    """Return the body with which OpenMetadata makes or changes the pipeline of a Dag."""
    facts = dag.facts
    said = {
        "Owners": ", ".join(facts.owners),
        "Tags": ", ".join(facts.tags),
        "File": facts.file,
        **{name.replace("sla_", "SLA "): told for name, told in _tell_promises(catalog, dag.node).items()},
    }
    text = "\n\n".join(filter(None, [dag.doc or facts.description, *(f"{k}: {v}" for k, v in said.items() if v)]))
    body: Json = {
        "name": _name(facts.dag_id),
        "displayName": facts.dag_id,
        "service": _name(catalog.name),
        "state": "Inactive" if facts.is_paused else "Active",
        "tasks": [_make_task(task) for task in dag.tasks],
    }
    if text:
        body["description"] = text
    if facts.schedule:
        body["scheduleInterval"] = facts.schedule
    return body


def _make_task(task: CatalogTask) -> Json:
    body: Json = {"name": task.task_id, "displayName": task.task_id, "downstreamTasks": list(task.downstream)}
    if task.operator:
        body["taskType"] = task.operator
    if task.doc:
        body["description"] = task.doc
    return body


def _name(text: str) -> str:
    """Return a name that OpenMetadata takes: without `::`, and not too long."""
    return text.replace("::", "__")[:_LONGEST_OPENMETADATA_NAME]
