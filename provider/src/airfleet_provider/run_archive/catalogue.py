"""Copies what the manifests say into the metadata database, where the Fleet pages find archived runs (ADR 98)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from airfleet_provider.contract.statements import Statements
from airfleet_provider.run_archive import manifest
from airfleet_provider.run_archive.manifest import BatchManifest
from airfleet_provider.run_archive.store import MANIFESTS, RunStore, name_dropped

SQL = Statements(__package__, "catalogue")

# Runs a statement and returns its rows, if it has any; each statement is a transaction.
Execute = Callable[[str, Mapping[str, Any]], list[tuple[Any, ...]]]


def renew(execute: Execute, store: RunStore) -> None:
    """Add the batches that are new in the store, and remove those that are not there any more.

    Any number of processes may do so at once, and one that ends anywhere leaves the rest to the next.

    Raises:
        ArchiveStoreError: The store cannot be read.
        ValueError: A later version wrote a manifest.
    """
    # Before the store is listed: a batch that another process adds meanwhile is left alone.
    known = {row[0] for row in execute(SQL["list_batches"], {})}
    paths = {path.rsplit("/", 1)[-1].removesuffix(".json"): path for path in store.list_paths(MANIFESTS)}
    if gone := sorted(known - paths.keys()):
        execute(SQL["remove_batches"], {"batches": gone})
    for batch in sorted(paths.keys() - known):
        if not store.holds(name_dropped(batch)):
            execute(SQL["add_batch"], describe(manifest.read(json.loads(store.read(paths[batch])))))


def describe(one: BatchManifest) -> dict[str, Any]:
    """Return the row of a batch."""
    moments = [run.run_after for run in one.runs]
    listed = [
        {"run_id": run.run_id, "run_after": run.run_after.isoformat(), "tasks": run.task_instances} for run in one.runs
    ]
    return {
        "batch": one.batch,
        "dag_id": one.dag_id,
        "month": one.month,
        "created_at": one.created_at,
        "runs": len(one.runs),
        "task_instances": one.task_instances,
        "bytes": one.bytes,
        "first_after": min(moments),
        "last_after": max(moments),
        "listed": json.dumps(listed),
    }
