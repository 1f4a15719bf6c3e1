"""Brings archived runs back into the metadata database, with the Dag versions that they refer to."""

from __future__ import annotations

# ruff: noqa: S608 - names come from the catalogue or are constants, values are numbers or quoted
import io
import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.csv

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import wording
from airfleet_provider.run_archive import agent, delete, manifest, rows, tables, task_logs
from airfleet_provider.run_archive.export import read_file
from airfleet_provider.run_archive.manifest import ArchivedRun, BatchManifest
from airfleet_provider.run_archive.query import read_manifests
from airfleet_provider.run_archive.rows import RowsMark
from airfleet_provider.run_archive.store import HOLDS, RunStore
from airfleet_provider.run_archive.tables import ROOT, RUN_COLUMN, Schema, TableKind, TableSource
from airfleet_provider.run_archive.task_logs import LogPlaces

# A Dag that is gone comes back as one that is gone, so that its runs have a Dag to refer to.
GONE = {"is_stale": "true", "is_paused": "true"}
OF_GONE_DAGS = {"dag": GONE, "dag_bundle": {"active": "false"}}


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back: `identical` runs have exactly the rows that were archived.

    `present` runs were in the database already, with this id, this run id or this logical date. Of the others, a row
    that refers to something that is gone has lost the reference, or has stayed in the archive (`omitted`).
    """

    runs: int = 0
    identical: int = 0
    present: int = 0
    rows: int = 0
    omitted: int = 0
    # Logs of tasks that were not there.
    logs: int = 0


def restore(
    database: agent.ArchivedDatabase,
    location: str,
    *,
    dag_id: str,
    since: datetime,
    until: datetime,
    now: datetime,
    hold: timedelta,
    logs: LogPlaces | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Restored:
    """Bring back the archived runs of a Dag whose `run_after` is in [since, until).

    They are not archived again for as long as `hold`. The archive keeps its copy. May be called again. Each batch comes
    back in one transaction. After the rows, logs of tasks come back to where Airflow looks for them: not those
    of a run in whose place there is another one of its name. Raises BusyError and StoreError.
    """
    store = RunStore(location)
    found = read_manifests(store)
    newest, newest_logs = manifest.find_newest(found), task_logs.find_newest(found)
    total = Restored()
    with closing(agent.lock(database)) as connection:
        schema = tables.read_schema(metadata_db.query_with(connection))
        for one in found:
            asked = _choose_asked(one, dag_id, since, until)
            wanted = {run.id: run.digest for run in asked if newest[run.id] == one.batch}
            if not wanted:
                continue
            # Before the rows are there, so that no call between archives them again.
            name = f"{HOLDS}/{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}.json"
            store.write_json(name, {"until": (now + hold).isoformat(), "runs": sorted(wanted)})
            done = _restore_batch(connection, store, schema, one, wanted)
            report(f"{one.dag_id} {one.month}: {wording.count(done.runs, 'run')}, {wording.count(done.rows, 'row')}")
            total = Restored(*(getattr(total, name) + getattr(done, name) for name in Restored.__dataclass_fields__))
        if logs:
            for one in found:
                asked = _choose_asked(one, dag_id, since, until)
                own = [run for run in asked if newest_logs.get(run.id) == one.batch]
                there = [run.id for run in delete.find_present(connection, own)]
                total = replace(total, logs=total.logs + task_logs.restore(store, one, there, logs))
    return total


def _choose_asked(one: BatchManifest, dag_id: str, since: datetime, until: datetime) -> list[ArchivedRun]:
    return [run for run in one.runs if one.dag_id == dag_id and since <= run.run_after < until]


def _restore_batch(
    connection: Any,  # noqa: ANN401 - a psycopg2 connection in autocommit mode
    store: RunStore,
    schema: Schema,
    one: BatchManifest,
    wanted: dict[int, str],
) -> Restored:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            loader = _BatchLoader(cursor, store, schema, one)
            runs = loader.stage(ROOT, sorted(wanted))
            ids = _choose(cursor, schema, runs)
            for source in schema.parents:
                loader.load(source, None)
            for source in schema.owned:
                loader.load(source, ids)
            for source, key in schema.linked:
                loader.link(source, key, ids)
            digested = [one for one in schema.owned if one.is_digested]
            cursor.execute(rows.select_marks(digested, ids, one.dag_id, RowsMark.DIGEST))
            identical = sum(wanted[run] == one.digest for run, one in rows.summarize(cursor.fetchall()).items())
            cursor.execute("COMMIT")
        except BaseException:
            if not connection.closed:
                cursor.execute("ROLLBACK")
            raise
    return Restored(len(ids), identical, len(wanted) - len(ids), loader.rows, loader.omitted)


def _choose(cursor: Any, schema: Schema, stage: str) -> list[int]:  # noqa: ANN401 - psycopg2's cursor
    """The ids of the staged runs that the database has no other run in the place of."""
    cursor.execute(
        f"SELECT s.id::bigint FROM {stage} s WHERE NOT EXISTS (SELECT FROM dag_run r"
        " WHERE r.id = s.id::bigint OR (r.dag_id = s.dag_id"
        " AND (r.run_id = s.run_id OR r.logical_date = s.logical_date::timestamptz)))"
    )
    return [row[0] for row in cursor.fetchall()]


class _BatchLoader:
    """Loads the files of one batch through temporary tables of text, which PostgreSQL reads into its own types."""

    def __init__(self, cursor: Any, store: RunStore, schema: Schema, one: BatchManifest) -> None:  # noqa: ANN401 - psycopg2's
        self._cursor, self._store, self._manifest = cursor, store, one
        self._keys = defaultdict(list)
        for key in schema.foreign_keys:
            self._keys[key.child].append(key)
        self.rows = self.omitted = 0

    def stage(self, table: str, ids: Sequence[int] | None) -> str:
        """A temporary table with the archived rows of some runs, or with all of the batch; all columns are text."""
        file = self._manifest.files[table]
        found = read_file(self._store, file).select([*file.columns, RUN_COLUMN])
        if ids is not None:
            found = found.filter(pyarrow.compute.is_in(found[RUN_COLUMN], pyarrow.array(ids, pyarrow.int64())))
        name = f"stage_{table}"
        columns = ", ".join(f'"{one}" text' for one in found.column_names)
        self._cursor.execute(f"CREATE TEMPORARY TABLE {name} ({columns}) ON COMMIT DROP")
        buffer = io.BytesIO()
        options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="all_valid")
        pyarrow.csv.write_csv(_write_as_text(found), buffer, options)
        buffer.seek(0)
        self._cursor.copy_expert(f"COPY {name} FROM STDIN (FORMAT csv)", buffer)
        return f"pg_temp.{name}"

    def load(self, source: TableSource, ids: Sequence[int] | None) -> None:
        """Insert the archived rows of a table that the database lacks."""
        if source.table not in self._manifest.files:
            return
        stage = f"pg_temp.stage_{source.table}" if source.table == ROOT else self.stage(source.table, ids)
        archived = self._manifest.files[source.table].columns
        columns = [one for one in source.columns if one.name in archived]
        conditions, values = self._respect_keys(source, {one.name: f's."{one.name}"::{one.type}' for one in columns})
        values |= {name: value for name, value in OF_GONE_DAGS.get(source.table, {}).items() if name in values}
        if ids is not None:
            conditions.append(f"s.{RUN_COLUMN}::bigint = ANY({rows.write_ids(ids)})")
        names = ", ".join(f'"{name}"' for name in values)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        self._cursor.execute(
            f'INSERT INTO public."{source.table}" ({names}) SELECT {", ".join(values.values())}'
            f" FROM {stage} s{where} ON CONFLICT DO NOTHING"
        )
        if source.kind is TableKind.OWNED:
            inserted: int = self._cursor.rowcount
            listed = rows.write_ids(ids or ())
            self._cursor.execute(f"SELECT count(*) FROM {stage} WHERE {RUN_COLUMN}::bigint = ANY({listed})")
            self.rows += inserted
            self.omitted += self._cursor.fetchone()[0] - inserted

    def link(self, source: TableSource, key: tables.ForeignKey, ids: Sequence[int]) -> None:
        """Give rows that stayed in the database their reference to the run back."""
        if source.table not in self._manifest.files:
            return
        stage = self.stage(source.table, ids)
        (column,), types = key.columns, {one.name: one.type for one in source.columns}
        self._cursor.execute(
            f'UPDATE public."{source.table}" AS x SET "{column}" = s."{column}"::{types[column]} FROM {stage} s'
            f' WHERE x.id = s.id::{types["id"]} AND x."{column}" IS NULL'
        )

    def _respect_keys(self, source: TableSource, values: dict[str, str]) -> tuple[list[str], dict[str, str]]:
        """Where a parent is gone: an optional reference to it becomes NULL, and a row that needs it is omitted."""
        required = {one.name for one in source.columns if one.is_required}
        conditions = []
        for key in self._keys[source.table]:
            if not set(key.columns) <= values.keys():
                continue
            pairs = zip(key.parent_columns, key.columns, strict=True)
            found = " AND ".join(f'p."{of}" = {values[own]}' for of, own in pairs)
            exists = f'EXISTS (SELECT FROM public."{key.parent}" p WHERE {found})'
            optional = [name for name in key.columns if name not in required]
            if optional and len(key.columns) == 1:
                values[optional[0]] = f"CASE WHEN {exists} THEN {values[optional[0]]} END"
            else:
                conditions.append(exists)
        return conditions, values


def _write_as_text(found: pyarrow.Table) -> pyarrow.Table:
    columns = []
    for column in found.columns:
        if pyarrow.types.is_binary(column.type) or pyarrow.types.is_large_binary(column.type):
            texts = [None if one is None else "\\x" + one.hex() for one in column.to_pylist()]
            columns.append(pyarrow.array(texts, pyarrow.string()))
        else:
            columns.append(pyarrow.compute.cast(column, pyarrow.string()))
    return pyarrow.table(columns, names=found.column_names)
