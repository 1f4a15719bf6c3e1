"""Whether two tables have the same rows: their number, and a sum of hashes that knows no order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.migration.metadata import CONNECT_S, find_postgresql
from airfleet.operations.migration.side_by_side.outcomes import OutcomeDifference
from airfleet.operations.migration.text import make_printable
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "tables")
STATEMENT_MS = 600_000
_NAMED = re.compile(r"([^.:]+)\.([^.:]+)(?::(.+))?")


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table, and the columns that are compared; none means all."""

    schema: str
    name: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class TableDigest:
    """What a person sees of a table, and a hash of its rows."""

    shown: str
    hash: int = 0


def parse_table(text: str) -> NamedTable:
    """Return the table of `schema.table` or `schema.table:column,column`. Raises UsageError."""
    found = _NAMED.fullmatch(text)
    if found is None:
        raise UsageError(f"{make_printable(text)} names no table", hint="schema.table, or schema.table:column,column")
    return NamedTable(found[1], found[2], tuple(one.strip() for one in (found[3] or "").split(",") if one.strip()))


def compare_tables(old_url: str, new_url: str, tables: Sequence[NamedTable]) -> Iterator[OutcomeDifference]:
    """Yield the tables that differ in two databases of PostgreSQL, which are only read.

    Raises:
        UsageError: A URL is not one of PostgreSQL.
        AirfleetError: A database cannot be read.
    """
    old, new = (_read(url, tables) for url in (old_url, new_url))
    for table, there, here in zip(tables, old, new, strict=True):
        if there != here:
            what = f"table {table}"
            if there and here and there.shown == here.shown:
                yield OutcomeDifference(what, there.shown, f"{here.shown} with other contents")
            else:
                yield OutcomeDifference(what, there.shown if there else None, here.shown if here else None)


def _read(url: str, tables: Sequence[NamedTable]) -> list[TableDigest | None]:
    """Return for each table its columns, number of rows and hash, or None if there is none."""
    # Values are written alike on both sides. A policy of rows would call functions of the database.
    settings = {
        "default_transaction_read_only": "on",
        "statement_timeout": str(STATEMENT_MS),
        "row_security": "off",
        "search_path": "pg_catalog",
        "TimeZone": "UTC",
        "DateStyle": "ISO",
        "IntervalStyle": "postgres",
        "extra_float_digits": "1",
        "bytea_output": "hex",
    }
    source = find_postgresql(url)
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    try:
        with psycopg.connect(source, connect_timeout=CONNECT_S, options=options) as connection:
            return [_measure(connection, table) for table in tables]
    except psycopg.Error as error:
        text = make_printable((str(error).strip().splitlines() or ["it says nothing"])[0])
        raise AirfleetError(f"the tables cannot be read: {text}") from None


def _measure(connection: psycopg.Connection, table: NamedTable) -> TableDigest | None:
    if connection.execute(SQL["is_table"], (table.schema, table.name)).fetchone() is None:
        return None
    # The lock keeps the table what it is: a view of its name would run functions.
    name = sql.Identifier(table.schema, table.name)
    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(name))
    there = [str(one) for (one,) in connection.execute(SQL["columns"], (table.schema, table.name)).fetchall()]
    columns = [one for one in there if not table.columns or one in table.columns]
    missing = [one for one in table.columns if one not in there]
    if not columns or missing:
        return TableDigest(f"no column {', '.join(missing or table.columns)}")
    statement = sql.SQL(SQL["digest"]).format(table=name, columns=sql.SQL(", ").join(map(sql.Identifier, columns)))
    row = connection.execute(statement).fetchone()
    return TableDigest(f"{row[0]} rows of {', '.join(columns)}", int(row[1])) if row else None
