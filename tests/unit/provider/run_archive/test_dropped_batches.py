"""Batches that were begun and never completed, and processes that have lost the archive's lock."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from airfleet_provider.run_archive import agent, query
from airfleet_provider.run_archive.manifest import ArchivedRun, BatchManifest, DataFile
from airfleet_provider.run_archive.store import RunStore, name_data, name_intent, name_manifest

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BATCH, MONTH = "20260301T000000-aaaaaa", "2026-01"
PATHS = [name_data(table, MONTH, "sales", BATCH) for table in ("dag_run", "task_instance")]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """An archive with a batch that was begun: its intent, and the first of its files."""
    made = RunStore(str(tmp_path))
    made.write_json(name_intent(BATCH), {"batch": BATCH, "month": MONTH, "paths": PATHS})
    made.write(PATHS[0], b"rows")
    return made


def write_manifest(store: RunStore) -> None:
    files = {path.split("/")[1]: DataFile(path, 1, 4, "", {}) for path in PATHS}
    runs = (ArchivedRun(1, "run", NOW, 1, ""),)
    made = BatchManifest(BATCH, "sales", MONTH, NOW, "x", files, runs)
    store.write_json(name_manifest(MONTH, BATCH), made.to_json())


def test_the_files_of_a_batch_without_a_manifest_go(store: RunStore) -> None:
    assert list(agent._resume(store)) == []
    assert not store.holds(PATHS[0])
    assert not store.holds(name_intent(BATCH))


def test_the_rows_of_a_batch_with_a_manifest_are_deleted_next(store: RunStore) -> None:
    write_manifest(store)
    assert [one.batch for one in agent._resume(store)] == [BATCH]
    assert store.holds(PATHS[0])
    assert [one.batch for one in query.read_manifests(store)] == [BATCH]


def test_a_manifest_that_comes_after_its_files_were_removed_counts_for_nothing(store: RunStore) -> None:
    """The process that wrote it had lost the lock, and did not know."""
    assert list(agent._resume(store)) == []
    store.write(PATHS[1], b"rows")
    write_manifest(store)
    assert query.read_manifests(store) == []
    assert list(agent._resume(store)) == []
    assert not store.holds(PATHS[1])
    assert not store.holds(name_manifest(MONTH, BATCH))


def test_files_that_are_named_after_their_batch_was_dropped_go(store: RunStore) -> None:
    """The logs of a batch are named one by one, also by a process that had lost the lock."""
    assert list(agent._resume(store)) == []
    late = name_data("task_log", MONTH, "sales", f"{BATCH}-0000")
    store.write_json(name_intent(BATCH), {"batch": BATCH, "month": MONTH, "paths": [*PATHS, late]})
    store.write(late, b"logs")
    assert list(agent._resume(store)) == []
    assert not store.holds(late)
    assert not store.holds(name_intent(BATCH))


def test_a_manifest_that_comes_while_its_files_are_removed_counts_for_nothing(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(self: RunStore, path: str) -> None:
        raise InterruptedError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "remove", remove)
        with pytest.raises(InterruptedError):
            list(agent._resume(store))
    write_manifest(store)
    assert query.read_manifests(store) == []
    assert list(agent._resume(store)) == []
    assert not store.holds(name_intent(BATCH))
