"""Datasets of events of OpenLineage as assets of the graph: Airflow's own where it has one, otherwise new ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airfleet_provider.contract.lineage.graph import (
    ColumnEdge,
    ColumnKey,
    LineageAsset,
    NodeKey,
    NodeKind,
    Relation,
)

# The group of assets that only events name.
GROUP = "openlineage"
_SLASHES = re.compile(r"/+")

Row = Mapping[str, Any]


def name_dataset(namespace: str, name: str) -> str:
    """Return the name of a dataset in the graph."""
    return f"{namespace.rstrip('/')}/{name.lstrip('/')}" if namespace else name


def normalise(uri: str) -> str:
    """Return what an asset and a dataset have in common if they are the same thing.

    Airflow writes a table as `postgres://host:5432/db/schema/table`, OpenLineage as the namespace `postgres://host:5432`
    and the name `db.schema.table`.
    """
    scheme, mark, rest = uri.partition("://")
    if not mark:
        scheme, rest = "", uri
    return f"{scheme}://{_SLASHES.sub('.', rest.strip('/'))}"


@dataclass(slots=True)
class DatasetNames:
    """Finds the asset of a dataset, and collects the datasets that have none."""

    assets: Mapping[str, LineageAsset]
    found: dict[str, LineageAsset] = field(default_factory=dict)
    _by_uri: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self._by_uri = {normalise(one.uri): one.name for one in self.assets.values() if one.uri}

    def find(self, namespace: str, name: str) -> str:
        """Return the name of the asset that a dataset is."""
        own = name_dataset(namespace, name)
        uri = own if "://" in own else f"{namespace}://{name}"
        return self._by_uri.get(normalise(uri), own)

    def take(self, row: Row) -> tuple[NodeKey, NodeKey, Relation, str]:
        """Note a row of `dataset_use`, the last seen first, and return the relation that it says."""
        name = self.find(row["namespace"], row["name"])
        known = self.found.get(name) or self.assets.get(name) or LineageAsset(name, name, GROUP)
        if not known.columns and row["columns"]:
            known = replace(known, columns=tuple(row["columns"]))
        if row["is_output"] and (known.updated is None or known.updated < row["seen_at"]):
            by = {"by_dag": row["dag_id"], "by_task": row["task_id"], "by_run": row["run_id"]}
            known = replace(known, updated=row["seen_at"], **by)
        self.found[name] = known
        asset, dag = NodeKey(NodeKind.ASSET, name), NodeKey(NodeKind.DAG, row["dag_id"])
        if row["is_output"]:
            return dag, asset, Relation.WROTE, row["task_id"]
        return asset, dag, Relation.WAS_READ_BY, row["task_id"]

    def list_columns(self, rows: Iterable[Row]) -> Iterator[ColumnEdge]:
        """Yield the rows of `column_use` as edges between columns of assets."""
        for row in rows:
            source = ColumnKey(self.find(row["from_namespace"], row["from_name"]), row["from_field"])
            target = ColumnKey(self.find(row["namespace"], row["name"]), row["field"])
            if source != target:
                yield ColumnEdge(source, target, row["dag_id"], row["task_id"], row["how"])
