"""Archives the finished runs that are older than a moment, batch by batch; goes on where an interrupted one ended.

The order makes it safe to end anywhere: the intent, the data files, their comparison with the database, the manifest,
the deletion of rows, the end of the intent. Without a manifest, the batch of an intent is dropped. With one, the
deletion goes on. Two batches may be on their way at a time: one is exported while the rows of the one before it go.

A process that has lost the archive's lock may still write files, and even a manifest. It cannot delete rows: it does so
in the session that held the lock. So a batch is dropped first of all by a file that says so, and then its manifest
counts for nothing, whenever it is written.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import wording
from airfleet_provider.contract.locks import ARCHIVE_LOCK
from airfleet_provider.run_archive import delete as deletion
from airfleet_provider.run_archive import export, manifest, rows, tables, task_logs
from airfleet_provider.run_archive.export import Notice
from airfleet_provider.run_archive.manifest import BatchManifest
from airfleet_provider.run_archive.store import (
    DROPPED,
    HOLDS,
    INTENTS,
    RunStore,
    name_data,
    name_dropped,
    name_intent,
    name_manifest,
)
from airfleet_provider.run_archive.tables import Schema
from airfleet_provider.run_archive.task_logs import LogPlaces

# A batch is one snapshot and one file of each table: small enough for a transaction of a second, and for memory.
TASKS_PER_BATCH, RUNS_PER_BATCH = 20_000, 2_000
# By how much the niceness of the thread that exports is higher, where the archive rests.
LESS_URGENT = 10
# While logs are removed, the database is asked this often which of their runs it has, in one statement for a batch.
NAMED_S = 1.0

Candidate = tuple[int, str, str, datetime]


class ArchiveBusyError(RuntimeError):
    """Another process archives or restores runs of this database."""


@dataclass(frozen=True, slots=True)
class ArchiveTotals:
    """What one call has archived."""

    batches: int = 0
    runs: int = 0
    task_instances: int = 0
    rows: int = 0
    bytes: int = 0
    # Logs of tasks that are in the archive, and files of them that have left this host.
    logs: int = 0
    removed_logs: int = 0
    # Left in the database, because they were changed while they were archived, or were locked.
    changed: int = 0
    busy: int = 0
    longest_transaction_s: float = 0.0
    # Whether the budget of time was over before the work was, and how many runs the next call has to archive then.
    is_stopped: bool = False
    left: int = 0


@dataclass(frozen=True, slots=True)
class RunGroup:
    """What a dry run shows: finished runs of a Dag and a month that would be archived."""

    dag_id: str
    month: str
    runs: int


@dataclass(frozen=True, slots=True)
class ArchivedDatabase:
    """How the metadata database is reached."""

    # A new psycopg2 connection in autocommit mode, that no pooler is in front of.
    connect: Callable[[], Any]
    # What libpq takes; holds the password.
    conninfo: str


def lock(database: ArchivedDatabase) -> Any:  # noqa: ANN401 - a psycopg2 connection
    """A session that holds the archive's lock for as long as it lives; raises BusyError."""
    connection = database.connect()
    with connection.cursor() as cursor:
        for setting in rows.SETTINGS:
            cursor.execute(setting)
        cursor.execute(f"SELECT pg_try_advisory_lock({ARCHIVE_LOCK})")
        if not cursor.fetchone()[0]:
            connection.close()
            raise ArchiveBusyError("another process archives or restores runs now")
    return connection


def preview(database: ArchivedDatabase, location: str, before: datetime, dag_id: str | None = None) -> list[RunGroup]:
    """What `archive` would archive now, oldest month first. Changes nothing."""
    with closing(database.connect()) as connection:
        held = read_holds(RunStore(location), datetime.now(UTC))
        found = _list_candidates(metadata_db.query_with(connection), before, dag_id, held)
    return [
        RunGroup(dag, month, sum(1 for _ in group))
        for (month, dag), group in itertools.groupby(found, key=lambda one: (_find_month(one), one[1]))
    ]


def archive(
    database: ArchivedDatabase,
    location: str,
    before: datetime,
    *,
    dag_id: str | None = None,
    budget_s: float | None = None,
    pause: float = 0.0,
    logs: LogPlaces | None = None,
    notice: Notice = lambda _: None,
    report: Callable[[str], None] = lambda _: None,
) -> ArchiveTotals:
    """Archive the finished runs that ended before a moment, and delete their rows from the database.

    After each export and each transaction that deletes, it rests for `pause` times as long as that took, and what else
    runs on this host goes before its exports. Without a pause it exports a batch while it deletes the one before. Logs
    of tasks go into the archive too if it is said where they are. Raises BusyError, StoreError, tables.SchemaError, and
    what the database raises. What was begun is finished by the next call.
    """
    store, ends = RunStore(location), None if budget_s is None else time.monotonic() + budget_s
    totals, slice_size = ArchiveTotals(), deletion.FIRST_SLICE
    with (
        closing(lock(database)) as connection,
        closing(database.connect()) as planner,
        export.open_reader(database.conninfo) as reader,
        ThreadPoolExecutor(1, initializer=_give_way if pause else None) as exporter,
    ):
        query = metadata_db.query_with(planner)
        schema = tables.read_schema(query)
        if not query(rows.SQL["track_counts"])[0][0]:
            raise tables.SchemaError("track_counts of PostgreSQL is off, and so nobody can count what a deletion takes")

        def finish(one: BatchManifest, versions: Mapping[int, rows.Summary] | None) -> None:
            nonlocal totals, slice_size
            done = deletion.delete(
                connection,
                store,
                # A batch that an earlier call began may have runs that were restored since.
                replace(one, runs=tuple(run for run in one.runs if run.id not in held)),
                schema,
                versions,
                slice_size=slice_size,
                notice=notice,
                report=report,
                sleep=time.sleep,
                pause=pause,
            )
            slice_size = done.slice_size
            removed = _remove_logs(store, one, query, logs, notice, report) if logs else 0
            notice("end intent")
            store.remove(name_intent(one.batch))
            totals = _add(totals, one, done, removed)
            size = f"{wording.count(one.rows, 'row')}, {wording.count(one.bytes, 'byte')}"
            report(f"{one.dag_id} {one.month}: {wording.count(done.runs, 'run')}, {size}")

        held = read_holds(store, datetime.now(UTC))
        for one in _resume(store):
            finish(one, None)
        # While the rows of a batch are deleted, the next batch is exported.
        coming: Future[_Batch] | None = None
        found = _list_candidates(query, before, dag_id, held)
        for chunk in _cut(query, found):
            if ends is not None and time.monotonic() > ends:
                first_left, _ = chunk[0]
                totals = replace(totals, is_stopped=True, left=len(found) - found.index(first_left))
                break
            writers = 1 if pause else export.WRITERS
            submitted = exporter.submit(_write_batch, store, reader, schema, chunk, logs, notice, writers)
            if pause:
                # One core of the database's host at most, and not two: tasks start on the others.
                begun = time.monotonic()
                written = submitted.result()
                time.sleep((time.monotonic() - begun) * pause)
                finish(*written)
                continue
            exported, coming = coming, submitted
            if exported:
                finish(*exported.result())
        if coming:
            finish(*coming.result())
    return totals


def _give_way() -> None:
    """Let everything else on this host go before this thread and those that it starts: an export holds no lock."""
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + LESS_URGENT)


_Batch = tuple[BatchManifest, Mapping[int, rows.Summary]]


def _write_batch(
    store: RunStore,
    reader: Any,  # noqa: ANN401 - adbc_driver_manager.dbapi.Connection
    schema: Schema,
    chunk: Sequence[tuple[Candidate, int]],
    logs: LogPlaces | None,
    notice: Notice,
    writers: int,
) -> _Batch:
    """A batch whose files are complete; and of each run the versions of its rows."""
    now = datetime.now(UTC)
    first = chunk[0][0]
    batch, month, dag_id = f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}", _find_month(first), first[1]
    notice("intent")
    paths = [name_data(one.table, month, dag_id, batch) for one in schema.sources]

    def announce(further: Sequence[str]) -> None:
        store.write_json(name_intent(batch), {"batch": batch, "month": month, "paths": [*paths, *further]})

    announce(())
    runs = [(number, run_id, after, count) for (number, _, run_id, after), count in chunk]
    read = export.export(reader, schema, runs, batch=batch, dag_id=dag_id, month=month, now=now)
    files = export.write_files(store, read.manifest, read.tables, schema.sources, notice, writers)
    made = replace(read.manifest, files=files)
    if logs:
        made = replace(made, logs=task_logs.write(store, made, read.tables, logs, announce, notice))
    notice("manifest")
    store.write_json(name_manifest(month, batch), made.to_json())
    return made, read.versions


def _remove_logs(
    store: RunStore,
    one: BatchManifest,
    query: tables.Query,
    logs: LogPlaces,
    notice: Notice,
    report: Callable[[str], None],
) -> int:
    """Remove the logs of the batch's runs that have left the database, and return how many."""

    asked_at, named = float("-inf"), frozenset[str]()

    def find_named(ids: Collection[str]) -> frozenset[str]:
        # By its name: a run that was made anew writes into the same files. What is known is a second old at most.
        nonlocal asked_at, named
        if (now := time.monotonic()) - asked_at >= NAMED_S:
            notice("remove logs")
            asked_at = now
            listed = ", ".join(rows.quote_text(run_id) for run_id in ids)
            found = query(rows.SQL["named_runs"].format(dag=rows.quote_text(one.dag_id), runs=listed))
            named = frozenset(run_id for (run_id,) in found)
        return named

    removed, changed = task_logs.remove_archived(store, one, logs.folder, find_named)
    if changed:
        report(f"{one.dag_id} {one.month}: {wording.count(changed, 'log')} stay, as they changed since")
    return removed


def _resume(store: RunStore) -> Iterator[BatchManifest]:
    """The batches whose files are complete and whose rows may still be there; drops all others."""
    for path, intent in list(store.list_json(INTENTS)):
        name, dropped = name_manifest(intent["month"], intent["batch"]), name_dropped(intent["batch"])
        if not store.holds(dropped) and store.holds(name):
            yield manifest.read(json.loads(store.read(name)))
            continue
        # Also if it was dropped before: a process that has lost the lock may have named more files since.
        store.write_json(dropped, intent)
        store.remove(path)
    for _, intent in list(store.list_json(DROPPED)):
        for one in (name_manifest(intent["month"], intent["batch"]), *intent["paths"]):
            store.remove(one)


def read_holds(store: RunStore, now: datetime) -> frozenset[int]:
    """The ids of runs that were restored and are not archived again yet; removes holds that are over."""
    held: set[int] = set()
    for path, hold in list(store.list_json(HOLDS)):
        if datetime.fromisoformat(hold["until"]) > now:
            held.update(hold["runs"])
        else:
            store.remove(path)
    return frozenset(held)


def _list_candidates(
    query: tables.Query, before: datetime, dag_id: str | None, held: frozenset[int]
) -> list[Candidate]:
    dag = f"AND r.dag_id = {rows.quote_text(dag_id)}" if dag_id else ""
    moment = f"{rows.quote_text(before.isoformat())}::timestamptz"
    found = query(rows.SQL["candidates"].format(before=moment, dag=dag))
    return [(number, dag, run_id, after) for number, dag, run_id, after in found if number not in held]


def _cut(query: tables.Query, found: Sequence[Candidate]) -> Iterator[list[tuple[Candidate, int]]]:
    """Batches of runs with the numbers of their task instances, without runs that have unfinished ones."""
    for _, group in itertools.groupby(found, key=lambda one: (_find_month(one), one[1])):
        for some in _split(list(group), RUNS_PER_BATCH):
            listed = query(rows.SQL["count_tasks"].format(ids=rows.write_ids(one[0] for one in some)))
            counts = {int(row[0]): int(row[1]) for row in listed}
            batch: list[tuple[Candidate, int]] = []
            tasks = 0
            for one in some:
                if one[0] not in counts:
                    continue
                if batch and tasks + counts[one[0]] > TASKS_PER_BATCH:
                    yield batch
                    batch, tasks = [], 0
                batch.append((one, counts[one[0]]))
                tasks += counts[one[0]]
            if batch:
                yield batch


def _split(found: list[Candidate], size: int) -> Iterator[list[Candidate]]:
    for begin in range(0, len(found), size):
        yield found[begin : begin + size]


def _find_month(one: Candidate) -> str:
    return f"{one[3].astimezone(UTC):%Y-%m}"


def _add(totals: ArchiveTotals, one: BatchManifest, done: deletion.Deleted, removed_logs: int) -> ArchiveTotals:
    return replace(
        totals,
        batches=totals.batches + 1,
        runs=totals.runs + done.runs,
        task_instances=totals.task_instances + one.task_instances,
        rows=totals.rows + one.rows,
        bytes=totals.bytes + one.bytes,
        logs=totals.logs + one.logs.number,
        removed_logs=totals.removed_logs + removed_logs,
        changed=totals.changed + done.changed,
        busy=totals.busy + done.busy,
        longest_transaction_s=max(totals.longest_transaction_s, round(done.longest_s, 3)),
    )
