"""What the catalogue says of each Dag, task and asset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from airfleet_provider.contract.lineage.graph import (
    LineageAsset,
    LineageDag,
    LineageGraph,
    NodeKey,
    NodeKind,
    RunRecord,
)

# The owner that Airflow writes where nobody named one.
NOBODY = "airflow"


@dataclass(frozen=True, slots=True)
class CatalogTask:
    """A task of the newest version of its Dag. `reads` and `writes` are the names of its inlets and outlets."""

    task_id: str
    operator: str = ""
    owner: str = ""
    doc: str = ""
    is_mapped: bool = False
    upstream: tuple[str, ...] = ()
    downstream: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CatalogDag:
    """A Dag of the live release. `doc` is its Markdown, as its author wrote it."""

    facts: LineageDag
    doc: str = ""
    tasks: tuple[CatalogTask, ...] = ()
    runs: RunRecord = RunRecord()  # noqa: RUF009 - frozen

    @property
    def node(self) -> NodeKey:
        return NodeKey(NodeKind.DAG, self.facts.dag_id)

    @property
    def has_owner(self) -> bool:
        return bool(set(self.facts.owners) - {NOBODY})

    @property
    def has_doc(self) -> bool:
        return bool(self.facts.description.strip() or self.doc.strip())

    @property
    def summary(self) -> str:
        """Return the description, or else the first paragraph of the Markdown that is no heading."""
        paragraphs = (" ".join(part.split()) for part in self.doc.split("\n\n"))
        first = next((part for part in paragraphs if part and not part.startswith("#")), "")
        return self.facts.description.strip() or first


@dataclass(frozen=True, slots=True)
class Catalog:
    """All Dags and assets of a platform at one moment, in the order of their names."""

    name: str
    graph: LineageGraph
    dags: Mapping[str, CatalogDag] = field(default_factory=dict)

    @property
    def assets(self) -> Iterator[LineageAsset]:
        for name in sorted(self.graph.assets):
            yield self.graph.assets[name]

    def list_asset_owners(self, name: str) -> tuple[str, ...]:
        """Return the owners of the Dags that write an asset."""
        edges = self.graph.list_edges(NodeKey(NodeKind.ASSET, name), down=False)
        return tuple(dict.fromkeys(owner for edge in edges for owner in self.graph.dags[edge.source.name].owners))
