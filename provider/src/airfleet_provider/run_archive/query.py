"""SQL over archived runs: DuckDB reads the files of the manifests, and can reach nothing else."""

from __future__ import annotations

# ruff: noqa: S608 - names come from the catalogue or are constants, values are numbers or quoted
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow
import pyarrow.dataset
import pyarrow.fs

from airfleet_provider.run_archive import manifest
from airfleet_provider.run_archive.manifest import BatchManifest
from airfleet_provider.run_archive.store import DROPPED, MANIFESTS, RunStore
from airfleet_provider.run_archive.tables import RUN_COLUMN


class QueryError(RuntimeError):
    """DuckDB refuses the SQL; the message is DuckDB's."""


@dataclass(frozen=True, slots=True)
class QueryRows:
    """The rows of an answer."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]


def read_manifests(store: RunStore) -> list[BatchManifest]:
    """All manifests of a store, oldest batch first, without those of dropped batches."""
    dropped = {intent["batch"] for _, intent in store.list_json(DROPPED)}
    found = [manifest.read(content) for _, content in store.list_json(MANIFESTS)]
    return [one for one in found if one.batch not in dropped]


def query(location: str, sql: str) -> QueryRows:
    """Run SQL on the archived rows. Each archived table is a table of its own name. Raises QueryError.

    A run that was restored and archived again is there once. No statement can change the archive, or read or write a
    file.
    """
    store = RunStore(location)
    manifests = read_manifests(store)
    with duckdb.connect() as connection:
        for table in sorted({name for one in manifests for name in one.files}):
            connection.register(f"archived_{table}", _open_dataset(store, manifests, table))
        _define_views(connection, manifests)
        # Only now: what was registered stays readable.
        for setting in (
            "enable_external_access = false",
            "python_enable_replacements = false",
            "lock_configuration = true",
        ):
            connection.execute(f"SET {setting}")
        try:
            found = connection.execute(sql)
            columns = tuple(one[0] for one in found.description or ())
            return QueryRows(columns, found.fetchall() if columns else [])
        except duckdb.Error as error:
            raise QueryError(str(error)) from error


def _open_dataset(store: RunStore, manifests: Iterable[BatchManifest], table: str) -> pyarrow.dataset.Dataset:
    """The files of one table as one dataset, also where a version of Airflow has added a column."""
    files = [one.files[table] for one in manifests if table in one.files]
    paths = [store.locate(one.path) for one in files]
    system = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(store.system))
    # Files with the same columns of PostgreSQL have one schema; to read it of each file would take most of the time.
    different = {tuple(sorted(one.columns.items())): path for one, path in zip(files, paths, strict=True)}
    parts = [pyarrow.dataset.dataset(path, format="parquet", filesystem=system) for path in different.values()]
    schema = pyarrow.unify_schemas([one.schema for one in parts], promote_options="permissive")
    return pyarrow.dataset.dataset(paths, schema=schema, format="parquet", filesystem=system)


def _define_views(connection: duckdb.DuckDBPyConnection, manifests: Sequence[BatchManifest]) -> None:
    newest = manifest.find_newest(manifests)
    former = [(one.batch, run.id) for one in manifests for run in one.runs if newest[run.id] != one.batch]
    connection.execute("CREATE TABLE archived_again (batch VARCHAR, run BIGINT)")
    if former:
        connection.executemany("INSERT INTO archived_again VALUES (?, ?)", former)
    for table in sorted({name for one in manifests for name in one.files}):
        again = f"(archive_batch, {RUN_COLUMN}) NOT IN (SELECT batch, run FROM archived_again)"
        without = f" WHERE {RUN_COLUMN} IS NULL OR {again}" if former else ""
        connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM "archived_{table}"{without}')
