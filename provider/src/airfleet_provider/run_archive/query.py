"""SQL over archived runs: DuckDB reads the files of the manifests, and can reach nothing else."""

from __future__ import annotations

# ruff: noqa: S608 - names come from the catalogue or are constants, values are numbers or quoted
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow
import pyarrow.dataset
import pyarrow.fs

from airfleet_provider.run_archive import manifest, task_logs
from airfleet_provider.run_archive.manifest import BatchManifest, DataFile
from airfleet_provider.run_archive.store import DROPPED, MANIFESTS, RunStore
from airfleet_provider.run_archive.tables import RUN_COLUMN

FORMER = pyarrow.schema({"batch": pyarrow.string(), "run": pyarrow.int64()})


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
        files = _list_files(manifests)
        for table, some in files.items():
            connection.register(f"archived_{table}", _open_dataset(store, some))
        _define_views(connection, manifests, sorted(files))
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


def _list_files(manifests: Iterable[BatchManifest]) -> dict[str, list[DataFile]]:
    """The files of each table; those of task logs are a table too."""
    files: defaultdict[str, list[DataFile]] = defaultdict(list)
    for one in manifests:
        for table, file in one.files.items():
            files[table].append(file)
        if one.logs.parts:
            files[task_logs.TABLE] += one.logs.parts
    return files


def _open_dataset(store: RunStore, files: Sequence[DataFile]) -> pyarrow.dataset.Dataset:
    """The files of one table as one dataset, also where a version of Airflow has added a column."""
    paths = [store.locate(one.path) for one in files]
    system = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(store.system))
    # Files with the same columns of PostgreSQL have one schema; to read it of each file would take most of the time.
    different = {tuple(sorted(one.columns.items())): path for one, path in zip(files, paths, strict=True)}
    parts = [pyarrow.dataset.dataset(path, format="parquet", filesystem=system) for path in different.values()]
    schema = pyarrow.unify_schemas([one.schema for one in parts], promote_options="permissive")
    return pyarrow.dataset.dataset(paths, schema=schema, format="parquet", filesystem=system)


def _define_views(
    connection: duckdb.DuckDBPyConnection, manifests: Sequence[BatchManifest], names: Iterable[str]
) -> None:
    newest, newest_logs = manifest.find_newest(manifests), task_logs.find_newest(manifests)
    former = {
        "archived_again": [(one.batch, run.id) for one in manifests for run in one.runs if newest[run.id] != one.batch],
        "logs_again": [(one.batch, run) for one in manifests for run in one.logs.runs if newest_logs[run] != one.batch],
    }
    for name, some in former.items():
        listed = pyarrow.table({"batch": [one for one, _ in some], "run": [one for _, one in some]}, schema=FORMER)
        connection.register(f"listed_{name}", listed)
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM listed_{name}")
        connection.unregister(f"listed_{name}")
    for table in names:
        name = "logs_again" if table == task_logs.TABLE else "archived_again"
        again = f"(archive_batch, {RUN_COLUMN}) NOT IN (SELECT batch, run FROM {name})"
        without = f" WHERE {RUN_COLUMN} IS NULL OR {again}" if former[name] else ""
        connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM "archived_{table}"{without}')
