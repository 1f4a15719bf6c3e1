"""The catalogue as web pages and as JSON, in a folder that can be published or opened from a disk.

All names and texts are those of Dag authors, so they are untrusted: templates escape them, names of files are made from
hashes, and the policy of each page lets no script run but the one of `search.js`.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airfleet.errors import UsageError
from airfleet.operations.catalog import entities, picture
from airfleet.operations.catalog.entities import EntityFormat
from airfleet.operations.catalog.model import Catalog, CatalogDag, CatalogTask
from airfleet.template import render_template
from airfleet.workspace.file_lock import wait_and_hold
from airfleet_provider.contract.lineage import encoding
from airfleet_provider.contract.lineage.graph import NodeKey, NodeKind

# The folders of the site. What a build does not write there, it removes.
FOLDERS: Mapping[NodeKind, str] = {NodeKind.DAG: "dags", NodeKind.ASSET: "assets"}
MARK = ".airfleet-catalog"
# Of the text of a Dag, so many characters can be found on the first page.
LONGEST_TEXT = 2000
_SAFE = re.compile(r"[a-z0-9_]{1,80}")


def write(catalog: Catalog, folder: Path) -> None:
    """Write the pages and `catalog.json`. Each file is replaced whole, and the first page comes last.

    After a kill at any line, each page is whole; the next build writes all again and removes what is of no use. A build
    waits for another one of the same folder. Nothing is forced to the disk: a build can be repeated.

    Raises:
        UsageError: The folder has files that are not of a catalogue, or cannot be written.
    """
    with _hold(folder):
        for name in FOLDERS.values():
            (folder / name).mkdir(exist_ok=True)
        written = set()
        for name, text in list_files(catalog):
            _replace(folder / name, text)
            written.add(folder / name)
        for path in (path for name in FOLDERS.values() for path in (folder / name).iterdir()):
            if path not in written and path.is_file():
                path.unlink()


def write_entities(catalog: Catalog, folder: Path, form: EntityFormat) -> tuple[Path, ...]:
    """Write the files of another program beside the pages, if there are any, and return them. Raises as `write`."""
    with _hold(folder):
        written = []
        for name, text in entities.list_files(catalog, form):
            _replace(folder / name, text)
            written.append(folder / name)
    return tuple(written)


@contextmanager
def _hold(folder: Path) -> Iterator[None]:
    """Keep other builds out of a folder. Raises UsageError if it has other files, or cannot be written."""
    try:
        if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
            raise UsageError("this folder has other files", where=str(folder), hint="name a new folder with --out")
        folder.mkdir(parents=True, exist_ok=True)
        with wait_and_hold(folder / MARK):
            yield
    except OSError as error:
        raise UsageError(f"cannot write the catalogue: {error.strerror}", where=str(folder)) from None


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8", errors="backslashreplace")
    new.replace(path)


def list_files(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Yield the path in the folder and the text of each file."""
    graph = catalog.graph
    nodes = [*(dag.node for dag in catalog.dags.values()), *(NodeKey(NodeKind.ASSET, one) for one in graph.assets)]
    style, script = _read("style.css"), _read("search.js")
    shared = {
        "catalog": catalog,
        "links": {node: locate(node) for node in nodes},
        "states": {node: _tell_state(catalog, node) for node in nodes},
        "broken": {node for node in nodes if any(one.is_broken for one in graph.list_promises(node))},
        "anchor": make_slug,
        "shorten": picture.shorten,
        "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
        "form-action 'none'",
        "style": style,
        "script": script,
    }
    yield "catalog.json", json.dumps(to_json(catalog)) + "\n"
    for dag in catalog.dags.values():
        drawn = picture.draw(graph, dag.node)
        yield locate(dag.node), render_template(__package__, "dag.html", **shared, dag=dag, drawn=drawn)
    for asset in catalog.assets:
        node = NodeKey(NodeKind.ASSET, asset.name)
        drawn = picture.draw(graph, node)
        yield locate(node), render_template(__package__, "asset.html", **shared, asset=asset, node=node, drawn=drawn)
    texts = {node: _list_words(catalog, node) for node in nodes}
    assets = {node.name: node for node in nodes if node.kind is NodeKind.ASSET}
    tasks = sum(len(dag.tasks) for dag in catalog.dags.values())
    yield (
        "index.html",
        render_template(__package__, "index.html", **shared, texts=texts, asset_nodes=assets, tasks=tasks),
    )


def locate(node: NodeKey) -> str:
    """Return the path of a node's page in the folder of the site. It stays the same from build to build."""
    return f"{FOLDERS[node.kind]}/{make_slug(node.name)}.html"


def make_slug(name: str) -> str:
    """Return a name for a file or a place in a page. Two names never have the same, also where case does not count."""
    if _SAFE.fullmatch(name):
        return name
    plain = re.sub(r"[^a-z0-9_]+", "-", name.lower())[:60].strip("-")
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def to_json(catalog: Catalog) -> dict[str, Any]:
    """Return the catalogue as an object that JSON knows."""
    graph = catalog.graph
    return {
        "version": 1,
        "platform": catalog.name,
        "at": graph.now.isoformat(),
        "dags": [_encode_dag(catalog, dag) for dag in catalog.dags.values()],
        "assets": [
            {**encoding.encode_asset(graph, one.name), "owners": list(catalog.list_asset_owners(one.name))}
            for one in catalog.assets
        ],
        "edges": [encoding.encode_edge(edge) for edge in graph.edges],
        "columns": [encoding.encode_column_edge(edge) for edge in graph.columns],
    }


def _encode_dag(catalog: Catalog, dag: CatalogDag) -> dict[str, Any]:
    return {
        **encoding.encode_dag(catalog.graph, dag.facts.dag_id, dag.runs),
        "description": dag.facts.description,
        "doc": dag.doc,
        "file": dag.facts.file,
        "next_run": encoding.encode_moment(dag.facts.next_run),
        "tasks": [_encode_task(task) for task in dag.tasks],
    }


def _encode_task(task: CatalogTask) -> dict[str, Any]:
    return {
        "name": task.task_id,
        "operator": task.operator,
        "owner": task.owner,
        "doc": task.doc,
        "is_mapped": task.is_mapped,
        "upstream": list(task.upstream),
        "downstream": list(task.downstream),
        "reads": list(task.reads),
        "writes": list(task.writes),
    }


def _tell_state(catalog: Catalog, node: NodeKey) -> str:
    """Return the second line of a box of the picture: how old the asset is, or how the last run of the Dag ended."""
    if node.kind is NodeKind.ASSET:
        updated = catalog.graph.assets[node.name].updated
        return f"updated {updated:%Y-%m-%d %H:%M} UTC" if updated else "never updated"
    runs = catalog.dags[node.name].runs
    if runs.succeeded and runs.state in ("success", ""):
        return f"succeeded {runs.succeeded:%Y-%m-%d %H:%M} UTC"
    return f"last run: {runs.state}" if runs.state else "no run yet"


def _list_words(catalog: Catalog, node: NodeKey) -> str:
    """Return what a search finds a node by, in small letters."""
    if node.kind is NodeKind.ASSET:
        asset = catalog.graph.assets[node.name]
        words = (asset.name, asset.uri, asset.group, *asset.columns, *catalog.list_asset_owners(node.name))
    else:
        dag = catalog.dags[node.name]
        text = dag.doc[:LONGEST_TEXT]
        words = (node.name, *dag.facts.owners, *dag.facts.tags, dag.facts.schedule, dag.facts.description, text)
    return " ".join(" ".join(words).lower().split())


def _read(name: str) -> str:
    return (importlib.resources.files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the source expression by which a policy allows the text of a style or a script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
