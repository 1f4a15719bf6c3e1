"""What the recorder executes: the statements of the audit log, with a cursor of psycopg2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from airfleet_provider.contract import audit_store
from airfleet_provider.contract.audit_log import Entry

NAME = "SELECT username FROM ab_user WHERE id = %s"
TASK = "SELECT dag_id, run_id, task_id, map_index, try_number FROM task_instance WHERE id = %s::uuid"


class Target(NamedTuple):
    """The row that a request changes: its table, and the columns that name it, with their values."""

    table: str
    columns: tuple[str, ...]
    values: tuple[str, ...]


def begin(entry: Entry, target: Target | None, user: str | None) -> Callable[[Any], Entry]:
    """Return work that records an intent; it returns the entry with the user's name and the hash of the row."""

    def work(cursor: Any) -> Entry:  # noqa: ANN401 - psycopg2 has no types
        named = replace(entry, actor=find_name(cursor, user) or entry.actor) if user else entry
        full = replace(named, before=find_hash(cursor, target))
        audit_store.begin(cursor.execute, full)
        return full

    return work


def settle(entry: Entry, target: Target | None) -> Callable[[Any], None]:
    """Return work that ends an intent with its outcome. The row has a hash of what was changed, as it is now."""

    def work(cursor: Any) -> None:  # noqa: ANN401 - as above
        full = replace(entry, after=find_hash(cursor, target))
        audit_store.settle(cursor.execute, full)

    return work


def record_task(entry: Entry, instance: str) -> Callable[[Any], None]:
    """Return work that records what a task instance did, under the name of the task."""

    def work(cursor: Any) -> None:  # noqa: ANN401 - as above
        full = replace(entry, actor=find_task(cursor, instance) or entry.actor)
        audit_store.record(cursor.execute, full)

    return work


def begin_task(entry: Entry, instance: str) -> Callable[[Any], Entry]:
    """Return work that records the intent of a task instance."""

    def work(cursor: Any) -> Entry:  # noqa: ANN401 - as above
        full = replace(entry, actor=find_task(cursor, instance) or entry.actor)
        audit_store.begin(cursor.execute, full)
        return full

    return work


def find_hash(cursor: Any, target: Target | None) -> str:  # noqa: ANN401 - as above
    """Return the SHA-256 of a row as PostgreSQL shows it, or an empty text if there is no such row."""
    if target is None:
        return ""
    # Names of tables and columns come from the rules of this package, and values are parameters.
    where = " AND ".join(f"{column} = %s" for column in target.columns)
    cursor.execute(
        f"SELECT encode(sha256(convert_to(one::text, 'UTF8')), 'hex') FROM {target.table} one WHERE {where} LIMIT 1",  # noqa: S608
        target.values,
    )
    row = cursor.fetchone()
    return str(row[0]) if row else ""


def find_name(cursor: Any, user: str) -> str:  # noqa: ANN401 - as above
    """Return the name of FAB's user with this id."""
    if not user.isdecimal():
        return user
    cursor.execute(NAME, (int(user),))
    row = cursor.fetchone()
    return str(row[0]) if row else f"user {user}"


def find_task(cursor: Any, instance: str) -> str:  # noqa: ANN401 - as above
    """Return the names of a task instance; its id, if it is gone; nothing for a token that is not valid."""
    if not instance:
        return ""
    cursor.execute(TASK, (instance,))
    row = cursor.fetchone()
    if row is None:
        return f"task instance {instance}"
    dag, run, task, index, attempt = row
    mapped = f"[{index}]" if index >= 0 else ""
    return f"{dag} {run} {task}{mapped} try {attempt}"
