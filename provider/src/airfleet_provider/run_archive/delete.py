"""Deletes the rows of archived runs in short transactions, and only rows that are as they were archived."""

from __future__ import annotations

# ruff: noqa: S608 - names come from the catalogue or are constants, values are numbers or quoted
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airfleet_provider.run_archive import rows
from airfleet_provider.run_archive.export import Notice, read_file
from airfleet_provider.run_archive.manifest import ArchivedRun, BatchManifest
from airfleet_provider.run_archive.rows import RowsMark, Summary
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
    # How many runs the next transaction should take, as far as is known now.
    slice_size: int = FIRST_SLICE


def delete(
    connection: Any,  # noqa: ANN401 - a psycopg2 connection in autocommit mode
    store: RunStore,
    manifest: BatchManifest,
    schema: Schema,
    versions: Mapping[int, Summary] | None,
    *,
    slice_size: int = FIRST_SLICE,
    notice: Notice,
    report: Callable[[str], None],
    sleep: Callable[[float], None],
    pause: float,
) -> Deleted:
    """Delete the runs of a manifest that are still there; may be called again after it was interrupted anywhere.

    `versions` are those of the rows that this process has archived just now. Without them the content of all rows is
    compared with the manifest. The first transaction takes `slice_size` runs. After each one, the function sleeps for
    `pause` times as long as the transaction took.
    """
    left = find_present(connection, manifest.runs)
    logs = _read_logs(store, manifest) if left else {}
    guard = _Guard(schema, manifest.dag_id, versions, logs)
    deleted = changed = busy = 0
    size, longest_s = slice_size, 0.0
    while left:
        slice_, begun = left[:size], time.monotonic()
        notice(f"delete {slice_[0].run_id}")
        try:
            gone = _delete_slice(connection, slice_, guard)
        except (_TooLongError, _UnknownRowsError) as error:
            if len(slice_) == 1:
                is_busy = isinstance(error, _TooLongError)
                busy, changed = busy + is_busy, changed + (not is_busy)
                left = left[1:]
                if not is_busy:
                    report(f"{manifest.dag_id} {slice_[0].run_id} stays: {error}")
            size = max(1, len(slice_) // 4)
            sleep(0.1)
            continue
        notice(f"deleted {slice_[0].run_id}")
        took = time.monotonic() - begun
        longest_s = max(longest_s, took)
        deleted += gone
        changed += len(slice_) - gone
        left = left[len(slice_) :]
        # The last slice of a batch may be a small one, which says little.
        fitting = int(len(slice_) * AIM_S / max(took, 0.001))
        size = max(1, min(LARGEST_SLICE, size * 2, fitting if took > AIM_S else max(size, fitting)))
        sleep(took * pause)
    return Deleted(deleted, changed, busy, longest_s, size)


class _TooLongError(Exception):
    """PostgreSQL has ended a statement, as it took too long or waited for a lock."""


class _UnknownRowsError(Exception):
    """The deletion would take rows that are in no file."""


@dataclass(frozen=True, slots=True)
class _Guard:
    """Says which runs are as they were archived, and which rows go with them."""

    schema: Schema
    dag_id: str
    versions: Mapping[int, Summary] | None
    logs: Mapping[int, Sequence[int]]

    def lock(self, cursor: Any, runs: Sequence[ArchivedRun]) -> list[int]:  # noqa: ANN401 - psycopg2's cursor
        """Lock those of some runs that are there and finished, and return their ids."""
        cursor.execute(rows.SQL["lock_runs"].format(ids=rows.write_ids(one.id for one in runs)))
        return sorted(row[0] for row in cursor.fetchall())

    def delete(self, cursor: Any, ids: Sequence[int], ends: float) -> dict[int, Summary]:  # noqa: ANN401 - as above
        """Delete the rows of locked runs, and return which rows these were."""
        digested = [one for one in self.schema.owned if one.is_digested]
        cursor.execute(rows.select_filled(digested))
        filled = {row[0] for row in cursor.fetchall()}
        mark = RowsMark.DIGEST if self.versions is None else RowsMark.VERSION
        deletion = rows.delete_rows([one for one in digested if one.table in filled], ids, self.dag_id, mark)
        logs = [log for one in ids for log in self.logs.get(one, ())]
        cursor.execute("; ".join((_limit(ends), *rows.delete_others(ids, logs), deletion)))
        return rows.summarize(cursor.fetchall())

    def is_same(self, run: ArchivedRun, found: Summary) -> bool:
        """Return whether the rows of a run are the archived ones."""
        return found.digest == run.digest if self.versions is None else found == self.versions[run.id]

    def count_deleted(self) -> str:
        """SQL: how many rows of each table the transaction has deleted, by cascades too."""
        names = "{" + ",".join(one.table for one in self.schema.owned) + "}"
        return rows.SQL["count_deleted"].format(tables=rows.quote_text(names))

    def check(self, before: Mapping[str, int], after: Mapping[str, int], same: Mapping[int, Summary]) -> None:
        """Raise _UnknownRowsError if other numbers of rows are gone than the files have."""
        expected: Counter[str] = Counter({"log": sum(len(self.logs.get(one, ())) for one in same)})
        for one in same.values():
            expected.update(one.counts)
        for table, number in after.items():
            if number - before[table] > expected[table]:
                raise _UnknownRowsError(f"its deletion would take rows of {table} that are not in the archive")


def find_present(connection: Any, runs: Sequence[ArchivedRun]) -> list[ArchivedRun]:  # noqa: ANN401 - as above
    """Return those of some runs that the database has: the same ones, and not others of their names."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, run_id FROM dag_run WHERE id = ANY({rows.write_ids(one.id for one in runs)})")
        present = set(cursor.fetchall())
    return [one for one in runs if (one.id, one.run_id) in present]


def _read_logs(store: RunStore, manifest: BatchManifest) -> dict[int, list[int]]:
    """The ids of the archived rows of `log`, by the run."""
    found: dict[int, list[int]] = defaultdict(list)
    if file := manifest.files.get("log"):
        table = read_file(store, file).select(["id", RUN_COLUMN]).to_pydict()
        for number, run in zip(table["id"], table[RUN_COLUMN], strict=True):
            found[run].append(number)
    return found


def _delete_slice(connection: Any, runs: Sequence[ArchivedRun], guard: _Guard) -> int:  # noqa: ANN401 - as above
    """Delete in one transaction those of the runs that are as they were archived; return how many."""
    import psycopg2.errors  # noqa: PLC0415 - Airflow's driver; its types are not known here

    ends = time.monotonic() + (LONGEST_OF_ONE_S if len(runs) == 1 else LONGEST_S)
    with connection.cursor() as cursor:
        try:
            # Few runs have changed since. So the rows are deleted first and compared then, which reads them once.
            while runs:
                same = _try_deletion(cursor, runs, guard, ends)
                if len(same) == len(runs):
                    break
                runs = same
        except (psycopg2.errors.QueryCanceled, psycopg2.errors.LockNotAvailable) as error:
            cursor.execute("ROLLBACK")
            raise _TooLongError from error
        except BaseException:
            if not connection.closed:
                cursor.execute("ROLLBACK")
            raise
    return len(runs)


def _try_deletion(
    cursor: Any,  # noqa: ANN401 - psycopg2's cursor
    runs: Sequence[ArchivedRun],
    guard: _Guard,
    ends: float,
) -> list[ArchivedRun]:
    """Delete runs if all of them are as they were archived; otherwise delete none, and return those that are."""
    # Several statements at once, as each way to the server and back holds the locks for longer.
    cursor.execute(f"BEGIN; SET LOCAL lock_timeout = '{LOCK_WAIT}'; {_limit(ends)}; {guard.count_deleted()}")
    before = dict(cursor.fetchall())
    locked = set(guard.lock(cursor, runs))
    present = [one for one in runs if one.id in locked]
    if len(present) < len(runs):
        cursor.execute("ROLLBACK")
        return present
    found = guard.delete(cursor, [one.id for one in runs], ends)
    same = [one for one in runs if one.id in found and guard.is_same(one, found[one.id])]
    if len(same) < len(runs):
        cursor.execute("ROLLBACK")
        return same
    cursor.execute(guard.count_deleted())
    guard.check(before, dict(cursor.fetchall()), found)
    cursor.execute("COMMIT")
    return same


def _limit(ends: float) -> str:
    """SQL that lets each of the next statements run until a moment; raises _TooLongError if that is over."""
    left = ends - time.monotonic()
    if left <= 0:
        raise _TooLongError
    return f"SET LOCAL statement_timeout = {max(1, int(left * 1000))}"
