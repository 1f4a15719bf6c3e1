"""The logs of archived tasks: they go into the archive with their runs, leave the host after that, and come back.

A log is what `base_log_folder` of this host has of a run, or what the index of logs has of a try. It is kept as it is,
in pieces: a row of `task_log` is one piece of one file.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow
import pyarrow.compute

from airfleet_provider.contract.archive_store import ArchiveStoreError
from airfleet_provider.contract.explanation import task_log
from airfleet_provider.log_index import indexed_files
from airfleet_provider.log_index.lines import TASK, LineOrigin
from airfleet_provider.log_index.origins import find_task_origin
from airfleet_provider.log_index.store import LogQuery, LogReader, LogStoreError, read_whole
from airfleet_provider.run_archive import log_files
from airfleet_provider.run_archive.export import Notice, read_file, write_file
from airfleet_provider.run_archive.manifest import ArchivedLogs, ArchivedRun, BatchManifest, DataFile
from airfleet_provider.run_archive.store import RunStore, name_data
from airfleet_provider.run_archive.tables import RUN_COLUMN

TABLE = "task_log"
# Bytes of the pieces of one Parquet file: as much of a log is in memory at a time.
PART_BYTES = 32 * 2**20
# What a piece takes in memory beside its content: any number of empty files may be there.
PIECE_COSTS = 1000
FILE, INDEX = "file", "index"
SCHEMA = pyarrow.schema(
    {
        "path": pyarrow.string(),
        "dag_id": pyarrow.string(),
        "run_id": pyarrow.string(),
        "task_id": pyarrow.string(),
        "map_index": pyarrow.int64(),
        "try_number": pyarrow.int64(),
        "source": pyarrow.string(),
        "position": pyarrow.int64(),
        "sha256": pyarrow.string(),
        "content": pyarrow.binary(),
        RUN_COLUMN: pyarrow.int64(),
        "archive_batch": pyarrow.string(),
    }
)
COLUMNS: Mapping[str, str] = {one.name: str(one.type) for one in SCHEMA}
# What `LineOrigin.attempt` tells a try from all others by.
_Try = tuple[str, str, str, int, int]


@dataclass(frozen=True, slots=True)
class LogPlaces:
    """Where logs of tasks are. `open_reader` opens the index, and returns None where there is none."""

    # Airflow's `base_log_folder`.
    folder: Path
    open_reader: Callable[[], LogReader | None] = lambda: None
    # Whether tasks run on other hosts too, so that the files of this host are at most a part of a log.
    has_hosts: bool = False


@dataclass(frozen=True, slots=True)
class _Piece:
    path: str
    source: str
    position: int
    content: bytes
    run: int


def write(
    store: RunStore,
    manifest: BatchManifest,
    tables: Mapping[str, pyarrow.Table],
    places: LogPlaces,
    announce: Callable[[Sequence[str]], None],
    notice: Notice,
) -> ArchivedLogs:
    """Write the logs of a batch to files, read each of them back and compare it.

    `announce` is called with the paths of all files so far before one is written. Raises ArchiveStoreError, also if the
    index of logs does not answer: without it a log would be lost.
    """
    try:
        reader = places.open_reader()
        pieces = (one for run in manifest.runs for one in _read_run(places, reader, manifest.dag_id, run, tables))
        parts: list[DataFile] = []
        runs: dict[int, None] = {}
        paths: set[str] = set()
        for some in _fill(pieces):
            name = name_data(TABLE, manifest.month, manifest.dag_id, f"{manifest.batch}-{len(parts):04}")
            announce([*(one.path for one in parts), name])
            parts.append(write_file(store, name, _make_table(some, manifest.batch), COLUMNS, notice))
            runs |= dict.fromkeys(one.run for one in some)
            paths.update(one.path for one in some)
    except LogStoreError as error:
        raise ArchiveStoreError(f"cannot archive the logs of {manifest.dag_id}: {error}") from error
    return ArchivedLogs(tuple(parts), tuple(runs), len(paths))


def remove_archived(
    store: RunStore, manifest: BatchManifest, folder: Path, find_named: Callable[[Collection[str]], Set[str]]
) -> tuple[int, int]:
    """Remove the files of logs of the runs that are gone from the database, if they are still what was archived.

    `find_named` is given ids of runs, and returns those that the database has. It is asked before the files of each run
    are removed. Return how many were removed, and how many have changed and stay.
    """
    having = set(manifest.logs.runs)
    wanted = {run.id: run.run_id for run in manifest.runs if run.id in having}
    removed = changed = 0
    for run, files in itertools.groupby(_list_files(store, manifest, wanted), key=lambda one: one.run):
        if wanted[run] in find_named(wanted.values()):
            continue
        for one in files:
            is_removed = log_files.remove(folder, PurePosixPath(one.path), one.pieces)
            removed, changed = removed + (is_removed is True), changed + (is_removed is False)
    return removed, changed


def restore(store: RunStore, manifest: BatchManifest, runs: Iterable[int], places: LogPlaces) -> int:
    """Write the logs of some runs of a batch to the folder again, and return how many. One that is there stays.

    A log whose try the index still has carries a note for the log agent, so that no line of it is there twice. Raises
    ArchiveStoreError, also if the index does not answer; a later call goes on.
    """
    wanted = set(runs) & set(manifest.logs.runs)
    if not wanted:
        return 0
    restored = 0
    rows = _read_rows(store, manifest, wanted, ["path", "content"])
    try:
        reader = places.open_reader()
        for path, pieces in itertools.groupby(rows, key=lambda one: str(one["path"])):
            with log_files.open_draft(places.folder, path) as draft:
                for one in pieces:
                    draft.file.write(one["content"])
                if reader and reader.find_sources(find_task_origin("", path)):
                    indexed_files.note(draft.file.fileno(), draft.file.tell())
                restored += draft.finish()
    except LogStoreError as error:
        raise ArchiveStoreError(f"cannot restore the logs of {manifest.dag_id}: {error}") from error
    return restored


def find_newest(manifests: Iterable[BatchManifest]) -> dict[int, str]:
    """The batch that holds the logs of each run, by the run's id; a run archived again may have none any more."""
    return {run: one.batch for one in sorted(manifests, key=lambda one: one.batch) for run in one.logs.runs}


def _read_run(
    places: LogPlaces,
    reader: LogReader | None,
    dag_id: str,
    run: ArchivedRun,
    tables: Mapping[str, pyarrow.Table],
) -> Iterator[_Piece]:
    """Yield the pieces of the logs of a run: of each try from one place only, the one that has the whole of it."""
    indexed: set[_Try] = set()
    if reader and places.has_hosts:
        for attempt in _list_attempts(reader, dag_id, run, tables):
            found = list(reader.find_sources(attempt))
            indexed |= {attempt.attempt} if found else set()
            yield from _read_index(reader, attempt, found, run.id)
    on_disk: set[_Try] = set()
    for path, number in log_files.walk(places.folder, dag_id, run.run_id):
        attempt = find_task_origin("", path)
        if attempt.attempt in indexed:
            continue
        on_disk.add(attempt.attempt)
        for position, content in log_files.split_bytes(log_files.read_bytes(number)):
            yield _Piece(path, FILE, position, content, run.id)
    if reader and not places.has_hosts:
        for attempt in _list_attempts(reader, dag_id, run, tables, without=on_disk):
            yield from _read_index(reader, attempt, list(reader.find_sources(attempt)), run.id)


def _list_attempts(
    reader: LogReader,
    dag_id: str,
    run: ArchivedRun,
    tables: Mapping[str, pyarrow.Table],
    *,
    without: Set[_Try] = frozenset(),
) -> list[LineOrigin]:
    """The tries of a run that have begun, if the index knows the run at all."""
    found: dict[_Try, LineOrigin] = {}
    for name in ("task_instance_history", "task_instance"):
        if (table := tables.get(name)) is None:
            continue
        own = table.filter(pyarrow.compute.equal(table[RUN_COLUMN], run.id))
        for one in own.select(["task_id", "map_index", "try_number"]).to_pylist():
            if (one["try_number"] or 0) > 0:
                attempt = LineOrigin("", TASK, dag_id, one["task_id"], run.run_id, one["map_index"], one["try_number"])
                found.setdefault(attempt.attempt, attempt)
    left = [attempt for key, attempt in found.items() if key not in without]
    # One question for a run that has nothing there is cheap, and one for each try is not.
    if left and reader.search(LogQuery(dag=dag_id, run=run.run_id, component=TASK), 1).hits:
        return left
    return []


def _read_index(reader: LogReader, attempt: LineOrigin, sources: Sequence[str], run: int) -> Iterator[_Piece]:
    for number, source in enumerate(sources):
        path = _name_path(attempt, number)
        lines = (line.encode("utf-8", "surrogateescape") + b"\n" for line in read_whole(reader, attempt, source))
        for position, content in log_files.split_bytes(lines):
            yield _Piece(path, INDEX, position, content, run)


def _name_path(attempt: LineOrigin, number: int) -> str:
    """Where Airflow looks for the log of a try. It shows the further files, of other hosts, too."""
    further = f".trigger.{number}.log" if number else ""
    return f"{task_log.locate(attempt.dag, attempt.run, attempt)}{further}"


def _fill(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    """The pieces of one file of the archive at a time."""
    some: list[_Piece] = []
    size = 0
    for one in pieces:
        some.append(one)
        size += len(one.content) + PIECE_COSTS
        if size >= PART_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _make_table(pieces: Sequence[_Piece], batch: str) -> pyarrow.Table:
    origins = [find_task_origin("", one.path) for one in pieces]
    columns = {
        "path": [one.path for one in pieces],
        "dag_id": [one.dag for one in origins],
        "run_id": [one.run for one in origins],
        "task_id": [one.task for one in origins],
        "map_index": [one.map_index for one in origins],
        "try_number": [one.try_number for one in origins],
        "source": [one.source for one in pieces],
        "position": [one.position for one in pieces],
        "sha256": [hashlib.sha256(one.content).hexdigest() for one in pieces],
        "content": [one.content for one in pieces],
        RUN_COLUMN: [one.run for one in pieces],
        "archive_batch": [batch] * len(pieces),
    }
    return pyarrow.table(columns, schema=SCHEMA)


@dataclass(frozen=True, slots=True)
class _ArchivedFile:
    """A file of this host that is in the archive: of each piece the position and the hash."""

    path: str
    run: int
    pieces: list[tuple[int, str]]


def _read_rows(
    store: RunStore, manifest: BatchManifest, runs: Iterable[int], columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The pieces of the logs of some runs, in the order in which they were archived."""
    wanted = pyarrow.array(sorted(runs), pyarrow.int64())
    for part in manifest.logs.parts:
        table = read_file(store, part).select([*columns, RUN_COLUMN])
        yield from table.filter(pyarrow.compute.is_in(table[RUN_COLUMN], wanted)).to_pylist()


def _list_files(store: RunStore, manifest: BatchManifest, runs: Iterable[int]) -> list[_ArchivedFile]:
    found: dict[str, _ArchivedFile] = {}
    for one in _read_rows(store, manifest, runs, ["path", "source", "position", "sha256"]):
        if one["source"] == FILE:
            file = found.setdefault(one["path"], _ArchivedFile(one["path"], one[RUN_COLUMN], []))
            file.pieces.append((one["position"], one["sha256"]))
    return list(found.values())
