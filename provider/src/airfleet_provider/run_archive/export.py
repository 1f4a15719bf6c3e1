"""Writes a batch of runs to Parquet files, reads them back, and compares them with what the database gave."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pyarrow
import pyarrow.parquet
from adbc_driver_postgresql import dbapi

from airfleet_provider.run_archive import rows
from airfleet_provider.run_archive.manifest import ArchivedRun, DataFile, Manifest
from airfleet_provider.run_archive.store import DamagedError, RunStore, name_data
from airfleet_provider.run_archive.tables import Schema, Source

# A higher level takes twice the time for a few per cent.
COMPRESSION, LEVEL = "zstd", 3
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


def export(
    reader: Any,  # noqa: ANN401 - adbc_driver_manager.dbapi.Connection
    schema: Schema,
    runs: Sequence[tuple[int, str, datetime, int]],
    *,
    batch: str,
    dag_id: str,
    month: str,
    now: datetime,
) -> tuple[Manifest, dict[str, pyarrow.Table]]:
    """Read a batch from one snapshot: a manifest without files, and the tables that are not empty.

    `runs` are ids, run ids, dates and numbers of task instances.
    """
    ids = [one[0] for one in runs]
    tables: dict[str, pyarrow.Table] = {}
    try:
        with reader.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            for source in schema.sources:
                cursor.execute(rows.select_rows(source, ids))
                found = cursor.fetch_arrow_table()
                if found.num_rows:
                    tables[source.table] = found.append_column(
                        "archive_batch", pyarrow.array([batch] * found.num_rows, pyarrow.string())
                    )
            cursor.execute(rows.select_digests(schema, ids))
            digests = dict(cursor.fetchall())
            cursor.execute(rows.SQL["revision"])
            revision = str(cursor.fetchone()[0])
    finally:
        reader.rollback()
    found_runs = tuple(ArchivedRun(*run, digests[run[0]]) for run in runs if run[0] in digests)
    return Manifest(batch, dag_id, month, now, revision, {}, found_runs), tables


def write_files(
    store: RunStore, manifest: Manifest, tables: Mapping[str, pyarrow.Table], sources: Sequence[Source], notice: Notice
) -> dict[str, DataFile]:
    """Write each table, read it back from the store and compare it.

    Raises DamagedError if a file is not what was written, or holds other rows than the database gave.
    """
    found: dict[str, DataFile] = {}
    columns = {one.table: {column.name: column.type for column in one.columns} for one in sources}
    for name, table in tables.items():
        path = name_data(name, manifest.month, manifest.dag_id, manifest.batch)
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(table, buffer, compression=COMPRESSION, compression_level=LEVEL)
        content = buffer.getvalue()
        notice(f"write {path}")
        store.write(path, content)
        written = hashlib.sha256(content).hexdigest()
        read = store.read(path)
        if hashlib.sha256(read).hexdigest() != written:
            raise DamagedError(f"{path} in {store.location} does not hold what was written to it")
        if not pyarrow.parquet.read_table(io.BytesIO(read)).equals(table):
            raise DamagedError(f"{path} in {store.location} holds other rows than the database gave")
        found[name] = DataFile(path, table.num_rows, len(content), written, columns[name])
    return found


def read_file(store: RunStore, file: DataFile) -> pyarrow.Table:
    """The rows of a file; raises DamagedError if it is not what its manifest says."""
    content = store.read(file.path)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DamagedError(f"{file.path} in {store.location} is not the file that was archived: its hash is another")
    return pyarrow.parquet.read_table(io.BytesIO(content))
