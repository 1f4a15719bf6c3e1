"""Deletes the rows of archived runs in short transactions, and only rows that are as they were archived."""

from __future__ import annotations

# ruff: noqa: S608 - names come from the catalogue or are constants, values are numbers or quoted
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from airfleet_provider.run_archive import rows
from airfleet_provider.run_archive.export import Notice, read_file
from airfleet_provider.run_archive.manifest import ArchivedRun, Manifest
from airfleet_provider.run_archive.store import RunStore
from airfleet_provider.run_archive.tables import RUN_COLUMN, Schema

# How long a transaction should take, and after how long PostgreSQL ends one of its statements.
AIM_S, LONGEST_S = 0.3, 0.9
# For a single run: there is no smaller piece.
LONGEST_OF_ONE_S = 120.0
LOCK_WAIT = "200ms"
FIRST_SLICE, LARGEST_SLICE = 10, 500


@dataclass(frozen=True, slots=True)
class Deleted:
    """Numbers of runs: deleted, left as they were changed since, left as somebody held their locks."""

    runs: int = 0
    changed: int = 0
    busy: int = 0
    longest_s: float = 0.0


def delete(
    connection: Any,  # noqa: ANN401 - a psycopg2 connection in autocommit mode
    store: RunStore,
    manifest: Manifest,
    schema: Schema,
    *,
    notice: Notice,
    sleep: Callable[[float], None],
    pause: float,
) -> Deleted:
    """Delete the runs of a manifest that are still there; may be called again after it was interrupted anywhere.

    After each transaction it sleeps for `pause` times as long as the transaction took.
    """
    left = _find_present(connection, manifest.runs)
    logs = _read_logs(store, manifest) if left else {}
    deleted = changed = busy = 0
    size, longest_s = FIRST_SLICE, 0.0
    while left:
        slice_, begun = left[:size], time.monotonic()
        notice(f"delete {slice_[0].run_id}")
        try:
            gone = _delete_slice(connection, slice_, schema, logs)
        except _TooLongError:
            if len(slice_) == 1:
                busy += 1
                left = left[1:]
            size = max(1, len(slice_) // 4)
            sleep(0.1)
            continue
        notice(f"deleted {slice_[0].run_id}")
        took = time.monotonic() - begun
        longest_s = max(longest_s, took)
        deleted += gone
        changed += len(slice_) - gone
        left = left[len(slice_) :]
        size = max(1, min(LARGEST_SLICE, int(len(slice_) * AIM_S / max(took, 0.001)), size * 2))
        sleep(took * pause)
    return Deleted(deleted, changed, busy, longest_s)


class _TooLongError(Exception):
    """PostgreSQL has ended a statement, as it took too long or waited for a lock."""


def _find_present(connection: Any, runs: Sequence[ArchivedRun]) -> list[ArchivedRun]:  # noqa: ANN401 - as above
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, run_id FROM dag_run WHERE id = ANY({rows.write_ids(one.id for one in runs)})")
        present = set(cursor.fetchall())
    return [one for one in runs if (one.id, one.run_id) in present]


def _read_logs(store: RunStore, manifest: Manifest) -> dict[int, list[int]]:
    """The ids of the archived rows of `log`, by the run."""
    found: dict[int, list[int]] = defaultdict(list)
    if file := manifest.files.get("log"):
        table = read_file(store, file).select(["id", RUN_COLUMN]).to_pydict()
        for number, run in zip(table["id"], table[RUN_COLUMN], strict=True):
            found[run].append(number)
    return found


def _delete_slice(connection: Any, runs: Sequence[ArchivedRun], schema: Schema, logs: dict[int, list[int]]) -> int:  # noqa: ANN401 - as above
    """Delete in one transaction those of the runs that are as they were archived; return how many."""
    import psycopg2.errors  # noqa: PLC0415 - Airflow's driver; its types are not known here

    longest = LONGEST_OF_ONE_S if len(runs) == 1 else LONGEST_S
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            cursor.execute(
                f"SET LOCAL statement_timeout = {int(longest * 1000)}; SET LOCAL lock_timeout = '{LOCK_WAIT}'"
            )
            ids = rows.write_ids(one.id for one in runs)
            cursor.execute(rows.SQL["lock_runs"].format(ids=ids))
            locked = {row[0] for row in cursor.fetchall()}
            cursor.execute(rows.SQL["lock_tasks"].format(ids=ids))
            cursor.execute(rows.select_digests(schema, sorted(locked)))
            digests = dict(cursor.fetchall())
            same = [one.id for one in runs if digests.get(one.id) == one.digest]
            if same:
                for statement in rows.list_deletions(schema, same, [log for one in same for log in logs.get(one, ())]):
                    cursor.execute(statement)
            cursor.execute("COMMIT")
        except (psycopg2.errors.QueryCanceled, psycopg2.errors.LockNotAvailable) as error:
            cursor.execute("ROLLBACK")
            raise _TooLongError from error
        except BaseException:
            if not connection.closed:
                cursor.execute("ROLLBACK")
            raise
    return len(same)
