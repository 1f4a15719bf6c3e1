"""The SQL that reads, compares and deletes the rows of runs."""

from __future__ import annotations

# ruff: noqa: S608 - names come from the catalogue or are constants, values are numbers or quoted
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from airfleet_provider.contract.statements import Statements
from airfleet_provider.run_archive.tables import RUN_COLUMN, Column, TableKind, TableSource

SQL = Statements(__package__, "rows")

# A row as text, of which digests are made, depends on these settings.
SETTINGS = (
    "SET timezone TO 'UTC'",
    "SET datestyle TO 'ISO, MDY'",
    "SET intervalstyle TO 'postgres'",
    "SET bytea_output TO 'hex'",
    "SET extra_float_digits TO 1",
    "SET search_path TO pg_catalog, public",
    "SET application_name TO 'airfleet archive'",
)
FINISHED = ("success", "failed")
# The states of a task instance in which nothing more happens to it; no state is that of one that never began.
ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
# Types that Parquet has too. All others are archived as the text that PostgreSQL reads back.
NATIVE = ("boolean", "smallint", "integer", "bigint", "real", "double precision", "text", "bytea", "date")
NATIVE_FAMILIES = ("character varying", "timestamp")


class RowsMark(StrEnum):
    """What tells whether the rows of a run are the ones that were archived. PostgreSQL computes both."""

    # A hash of the row's content. It lasts, so it is in the manifest.
    DIGEST = "archive_digest"
    # A hash of where the row's version is, and of the transaction that wrote it. A version never changes: an update
    # writes another one. It is cheap, but means nothing once the server was restored, so that only the process that
    # has read the rows may compare it.
    VERSION = "archive_version"

    def hash(self, source: TableSource) -> str:
        """The hash of a row `x` as SQL, a bigint. Equal rows of two tables have different ones."""
        if self is RowsMark.DIGEST:
            return f"hashtextextended(x::text, {source.seed})"
        return f"hashint8extended(x.xmin::text::bigint, hashtidextended(x.ctid, {source.seed}))"


@dataclass(frozen=True, slots=True)
class Summary:
    """The rows of a run: their number by the table, and the sum over their hashes."""

    counts: Mapping[str, int]
    hashes: int

    @property
    def digest(self) -> str:
        """The form in which a manifest holds it."""
        return f"{sum(self.counts.values())}:{self.hashes}"


def summarize(found: Iterable[tuple[int, str, int, int]]) -> dict[int, Summary]:
    """The summary of each run, from the run, the table, the number of its rows there, and the sum of their hashes."""
    counts: defaultdict[int, dict[str, int]] = defaultdict(dict)
    hashes: defaultdict[int, int] = defaultdict(int)
    for run, table, number, hashed in found:
        counts[run][table] = int(number)
        hashes[run] += int(hashed)
    return {run: Summary(listed, hashes[run]) for run, listed in counts.items()}


def write_ids(ids: Iterable[int]) -> str:
    """An array of integers as SQL."""
    return "'{" + ",".join(map(str, ids)) + "}'::bigint[]"


def quote_text(text: str) -> str:
    """A text as SQL; with `standard_conforming_strings`, which is PostgreSQL's default."""
    return "'" + text.replace("'", "''") + "'"


def is_native(column: Column) -> bool:
    return column.type in NATIVE or column.type.startswith(NATIVE_FAMILIES)


def select_rows(source: TableSource, ids: Iterable[int], dag_id: str) -> str:
    """Read the rows of some runs of a Dag, each type in a form that Parquet and PostgreSQL both have.

    A row of a table that is digested has the hashes of `RowsMark` too, in columns of their names.
    """
    columns = ", ".join(
        f'x."{one.name}"' if is_native(one) else f'x."{one.name}"::text AS "{one.name}"' for one in source.columns
    )
    listed = write_ids(ids)
    if source.kind is TableKind.PARENT:
        return f"SELECT {columns}, NULL::bigint AS {RUN_COLUMN} FROM {source.path.format(ids=listed)}"
    marks = [f", {mark.hash(source)} AS {mark}" for mark in RowsMark if source.is_digested]
    return (
        f"SELECT {columns}, run.id::bigint AS {RUN_COLUMN}{''.join(marks)} FROM {source.path}"
        f" WHERE {_choose_runs(listed, dag_id)} ORDER BY run.id"
    )


def _choose_runs(ids: str, dag_id: str) -> str:
    # With the Dag, PostgreSQL can use the index of `log` on `dag_id`. It has none on the run, and would read the table.
    return f"run.id = ANY({ids}) AND run.dag_id = {quote_text(dag_id)}"


def select_filled(sources: Iterable[TableSource]) -> str:
    """The names of those of some tables that have a row at all."""
    names = ", ".join(f"('{one.table}', EXISTS (SELECT FROM public.\"{one.table}\"))" for one in sources)
    return f"SELECT name FROM (VALUES {names}) AS listed (name, is_filled) WHERE is_filled"


def select_marks(sources: Iterable[TableSource], ids: Iterable[int], dag_id: str, mark: RowsMark) -> str:
    """For each of some runs of a Dag and each of some tables: the number of its rows, and a sum over their hashes."""
    chosen = _choose_runs(write_ids(ids), dag_id)
    return " UNION ALL ".join(
        f"SELECT run.id::bigint, '{one.table}', count(*), sum({mark.hash(one)}) FROM {one.path}"
        f" WHERE {chosen} GROUP BY run.id"
        for one in sources
    )


def delete_rows(sources: Sequence[TableSource], ids: Iterable[int], dag_id: str, mark: RowsMark) -> str:
    """Delete the rows of some runs of a Dag from some tables, and return what `select_marks` does of the deleted ones.

    All tables are in one statement and so in one snapshot: a table that leads another one to its run may go before it.
    """
    chosen = _choose_runs(write_ids(ids), dag_id)
    gone = ", ".join(f"gone_{number} AS ({_delete(one, chosen, mark)})" for number, one in enumerate(sources))
    counted = " UNION ALL ".join(
        f"SELECT run, '{one.table}', count(*), sum(mark) FROM gone_{number} GROUP BY run"
        for number, one in enumerate(sources)
    )
    return f"WITH {gone} {counted}"


def _delete(source: TableSource, chosen: str, mark: RowsMark) -> str:
    table, joined = source.path.split(" JOIN ", 1)
    first, *further = joined.split(" JOIN ", 1)
    using, condition = first.split(" ON ", 1)
    return (
        f"DELETE FROM {table} USING {' JOIN '.join((using, *further))} WHERE {condition} AND {chosen}"
        f" RETURNING run.id::bigint AS run, {mark.hash(source)} AS mark"
    )


def delete_others(ids: Iterable[int], logs: Sequence[int]) -> list[str]:
    """Delete what belongs to some runs and has no hashes. It must go before the task instances do."""
    usage = SQL["delete_usage"].format(ids=write_ids(ids))
    return [usage, *([f"DELETE FROM log WHERE id = ANY({write_ids(logs)})"] if logs else ())]
