"""The SQL that reads, compares and deletes the rows of runs."""

from __future__ import annotations

# ruff: noqa: S608 - names come from the catalogue or are constants, values are numbers or quoted
from collections.abc import Iterable, Sequence

from airfleet_provider.contract.statements import Statements
from airfleet_provider.run_archive.tables import RUN_COLUMN, Column, Kind, Schema, Source

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


def write_ids(ids: Iterable[int]) -> str:
    """An array of integers as SQL."""
    return "'{" + ",".join(map(str, ids)) + "}'::bigint[]"


def quote_text(text: str) -> str:
    """A text as SQL; with `standard_conforming_strings`, which is PostgreSQL's default."""
    return "'" + text.replace("'", "''") + "'"


def is_native(column: Column) -> bool:
    return column.type in NATIVE or column.type.startswith(NATIVE_FAMILIES)


def select_rows(source: Source, ids: Iterable[int]) -> str:
    """Read the rows of some runs, each type in a form that Parquet and PostgreSQL both have."""
    columns = ", ".join(
        f'x."{one.name}"' if is_native(one) else f'x."{one.name}"::text AS "{one.name}"' for one in source.columns
    )
    listed = write_ids(ids)
    if source.kind is Kind.PARENT:
        return f"SELECT {columns}, NULL::bigint AS {RUN_COLUMN} FROM {source.path.format(ids=listed)}"
    return (
        f"SELECT {columns}, run.id::bigint AS {RUN_COLUMN} FROM {source.path}"
        f" WHERE run.id = ANY({listed}) ORDER BY run.id"
    )


def select_digests(schema: Schema, ids: Iterable[int]) -> str:
    """For each of some runs, the number of its rows and a sum over their hashes, made by PostgreSQL."""
    listed = write_ids(ids)
    parts = " UNION ALL ".join(
        f"SELECT run.id, count(*) AS n, sum(hashtextextended(x::text, {one.seed})) AS h FROM {one.path}"
        f" WHERE run.id = ANY({listed}) GROUP BY run.id"
        for one in schema.owned
        if one.is_digested
    )
    return f"SELECT id::bigint, sum(n)::text || ':' || sum(h)::text FROM ({parts}) AS parts GROUP BY id"


def list_deletions(schema: Schema, ids: Sequence[int], logs: Sequence[int]) -> list[str]:
    """Delete the rows of some runs. Most go by the foreign keys' CASCADE; the others must go before the run does."""
    listed = write_ids(ids)
    names = {one.table for one in schema.owned}
    found = []
    if "partitioned_asset_key_log" in names:
        found.append(
            "DELETE FROM partitioned_asset_key_log WHERE asset_partition_dag_run_id IN"
            f" (SELECT id FROM asset_partition_dag_run WHERE created_dag_run_id = ANY({listed}))"
        )
    if "callback" in names:
        found.append(
            f"DELETE FROM callback WHERE id IN (SELECT callback_id FROM deadline WHERE dagrun_id = ANY({listed}))"
        )
    if logs:
        found.append(f"DELETE FROM log WHERE id = ANY({write_ids(logs)})")
    return [*found, f"DELETE FROM dag_run WHERE id = ANY({listed})"]
