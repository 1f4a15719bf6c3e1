"""What PostgreSQL's catalogues say about the metadata database; reading them changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "facts")

Query = Callable[[str], Sequence[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Table:
    """One table; `rows` is what the last ANALYZE or VACUUM found. Sizes are in bytes."""

    name: str
    options: Mapping[str, str]
    rows: int
    dead_rows: int
    changed_rows: int
    is_analyzed: bool
    updates: int
    hot_updates: int
    bytes: int
    index_bytes: int


@dataclass(frozen=True, slots=True)
class Index:
    """One B-tree; `expected_bytes` is what a new one with the same entries would have at most."""

    name: str
    table: str
    bytes: int
    is_valid: bool
    definition: str
    expected_bytes: int
    is_unique: bool


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction that has been open for more than five minutes."""

    pid: int
    program: str
    state: str
    age_s: float


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """A database at one moment."""

    tables: Mapping[str, Table]
    # A child table, the columns of its foreign key, and the parent.
    unindexed: tuple[tuple[str, tuple[str, ...], str], ...]
    indexes: Mapping[str, Index]
    transactions: tuple[Transaction, ...]
    xid_age: int
    freeze_max_age: int
    connections: int
    max_connections: int
    is_autovacuum_on: bool


def observe(query: Query) -> DatabaseFacts:
    """Read the facts in a few short statements."""
    tables = {}
    for name, options, rows, dead, changed, analyzed, updates, hot, size, index_size, live in query(SQL["tables"]):
        split = dict(one.split("=", 1) for one in options)
        tables[name] = Table(
            name,
            split,
            max(rows, live or 0),
            dead or 0,
            changed or 0,
            analyzed,
            updates or 0,
            hot or 0,
            size,
            index_size,
        )
    [(xid_age, freeze, used, most, is_on)] = query(SQL["limits"])
    return DatabaseFacts(
        tables=tables,
        unindexed=tuple((table, tuple(columns), parent) for table, columns, parent in query(SQL["unindexed"])),
        indexes=list_indexes(query),
        transactions=tuple(Transaction(*one) for one in query(SQL["sessions"])),
        xid_age=xid_age,
        freeze_max_age=freeze,
        connections=used,
        max_connections=most,
        is_autovacuum_on=is_on,
    )


def list_indexes(query: Query) -> Mapping[str, Index]:
    """Return the B-trees on tables of the schema `public`, by name."""
    return {one[0]: Index(*one) for one in query(SQL["indexes"])}
