"""Writes a batch of runs to Parquet files, reads them back, and compares them with what the database gave."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet
from adbc_driver_postgresql import dbapi

from airfleet_provider.run_archive import rows
from airfleet_provider.run_archive.manifest import ArchivedRun, BatchManifest, DataFile
from airfleet_provider.run_archive.rows import RowsMark, Summary
from airfleet_provider.run_archive.store import DamagedError, RunStore, name_data
from airfleet_provider.run_archive.tables import RUN_COLUMN, Schema, TableSource

# Level 3 takes twice the time, and makes files of task instances larger.
COMPRESSION, LEVEL = "zstd", 1
# Files of one batch that are written at a time: one commit of the file system serves several `fsync`s.
WRITERS = 12
# Called with the name of each step that is about to be done; tests end the process there.
Notice = Callable[[str], None]


@contextmanager
def open_reader(conninfo: str) -> Iterator[Any]:
    """A session that reads Arrow tables, each transaction from one snapshot."""
    with dbapi.connect(conninfo) as connection:
        with connection.cursor() as cursor:
            for setting in rows.SETTINGS:
                cursor.execute(setting)
        connection.commit()
        yield connection


@dataclass(frozen=True, slots=True)
class Export:
    """A batch as one snapshot of the database has it: a manifest without files, and the tables that are not empty."""

    manifest: BatchManifest
    tables: Mapping[str, pyarrow.Table]
    # Of each run, the versions of its rows: only for as long as this process lives.
    versions: Mapping[int, Summary]


def export(
    reader: Any,  # noqa: ANN401 - adbc_driver_manager.dbapi.Connection
    schema: Schema,
    runs: Sequence[tuple[int, str, datetime, int]],
    *,
    batch: str,
    dag_id: str,
    month: str,
    now: datetime,
) -> Export:
    """Read a batch from one snapshot. `runs` are ids, run ids, dates and numbers of task instances."""
    ids = [one[0] for one in runs]
    tables: dict[str, pyarrow.Table] = {}
    marks: dict[RowsMark, list[tuple[int, str, int, int]]] = {mark: [] for mark in RowsMark}
    try:
        with reader.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute(rows.select_filled(schema.sources))
            filled = {row[0] for row in cursor.fetchall()}
            for source in (one for one in schema.sources if one.table in filled):
                cursor.execute(rows.select_rows(source, ids, dag_id))
                found = cursor.fetch_arrow_table()
                if not found.num_rows:
                    continue
                for mark in RowsMark if source.is_digested else ():
                    marks[mark] += _sum_marks(found, source.table, mark)
                    found = found.drop_columns([mark])
                tables[source.table] = found.append_column(
                    "archive_batch", pyarrow.array([batch] * found.num_rows, pyarrow.string())
                )
            cursor.execute(rows.SQL["revision"])
            revision = str(cursor.fetchone()[0])
    finally:
        reader.rollback()
    digests = rows.summarize(marks[RowsMark.DIGEST])
    found_runs = tuple(ArchivedRun(*run, digests[run[0]].digest) for run in runs if run[0] in digests)
    made = BatchManifest(batch, dag_id, month, now, revision, {}, found_runs)
    return Export(made, tables, rows.summarize(marks[RowsMark.VERSION]))


def _sum_marks(found: pyarrow.Table, table: str, mark: RowsMark) -> list[tuple[int, str, int, int]]:
    """What `rows.select_marks` gives for a table, from its rows; a sum of 64-bit integers would overflow."""
    high, low = pyarrow.compute.shift_right(found[mark], 32), pyarrow.compute.bit_wise_and(found[mark], 0xFFFF_FFFF)
    grouped = pyarrow.table([found[RUN_COLUMN], high, low], names=["run", "high", "low"]).group_by(
        "run", use_threads=False
    )
    sums = grouped.aggregate([("high", "count"), ("high", "sum"), ("low", "sum")]).to_pydict()
    listed = zip(sums["run"], sums["high_count"], sums["high_sum"], sums["low_sum"], strict=True)
    return [(run, table, number, (of_high << 32) + of_low) for run, number, of_high, of_low in listed]


def write_files(
    store: RunStore,
    manifest: BatchManifest,
    tables: Mapping[str, pyarrow.Table],
    sources: Sequence[TableSource],
    notice: Notice,
    writers: int = WRITERS,
) -> dict[str, DataFile]:
    """Write each table, read it back from the store and compare it; so many of them at a time.

    Raises DamagedError if a file is not what was written, or holds other rows than the database gave.
    """
    columns = {one.table: {column.name: column.type for column in one.columns} for one in sources}

    def write(name: str) -> DataFile:
        path = name_data(name, manifest.month, manifest.dag_id, manifest.batch)
        return write_file(store, path, tables[name], columns[name], notice)

    # Most of the time goes by in waiting for the disk or the object store.
    with ThreadPoolExecutor(writers) as pool:
        return dict(zip(tables, pool.map(write, tables), strict=True))


def write_file(
    store: RunStore, path: str, table: pyarrow.Table, columns: Mapping[str, str], notice: Notice
) -> DataFile:
    """Write rows to a file, read it back from the store and compare both. Raises DamagedError."""
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression=COMPRESSION, compression_level=LEVEL)
    content = buffer.getvalue()
    notice(f"write {path}")
    store.write(path, content)
    written = hashlib.sha256(content).hexdigest()
    read = store.read(path)
    if hashlib.sha256(read).hexdigest() != written:
        raise DamagedError(f"{path} in {store.location} does not hold what was written to it")
    if not _parse_file(read).equals(table):
        raise DamagedError(f"{path} in {store.location} holds other rows than the database gave")
    return DataFile(path, table.num_rows, len(content), written, columns)


def _parse_file(content: bytes) -> pyarrow.Table:
    # For such small files, threads for the columns cost more than they save. `read_table` could also read folders, and
    # takes twice the time.
    return pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content)).read(use_threads=False)


def read_file(store: RunStore, file: DataFile) -> pyarrow.Table:
    """The rows of a file; raises DamagedError if it is not what its manifest says."""
    content = store.read(file.path)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DamagedError(f"{file.path} in {store.location} is not the file that was archived: its hash is another")
    return _parse_file(content)
