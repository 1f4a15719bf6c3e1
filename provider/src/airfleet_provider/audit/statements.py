"""What the recorder executes: the statements of the audit log, with a cursor of psycopg2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from airfleet_provider.contract import audit_store
from airfleet_provider.contract.audit_log import AuditEntry

NAME = "SELECT username FROM ab_user WHERE id = %s"
HASH = "SELECT encode(sha256(convert_to(one::text, 'UTF8')), 'hex') FROM {table} one WHERE {where} LIMIT 1"
TASK = "SELECT dag_id, run_id, task_id, map_index, try_number FROM task_instance WHERE id = %s::uuid"


class ChangedRow(NamedTuple):
    """The row that a request changes: its table, and the columns that name it, with their values."""

    table: str
    columns: tuple[str, ...]
    values: tuple[str, ...]


def begin(entry: AuditEntry, target: ChangedRow | None, user: str | None) -> Callable[[Any], AuditEntry]:
    """Return work that records an intent; it returns the entry with the user's name and the hash of the row."""

    def work(cursor: Any) -> AuditEntry:  # noqa: ANN401 - psycopg2 has no types
        name, before = find_both(cursor, user or "", target)
        full = replace(entry, actor=name or entry.actor, before=before)
        audit_store.begin(cursor.execute, full)
        return full

    return work


def settle(entry: AuditEntry, target: ChangedRow | None) -> Callable[[Any], None]:
    """Return work that ends an intent with its outcome. The row has a hash of what was changed, as it is now."""

    def work(cursor: Any) -> None:  # noqa: ANN401 - as above
        full = replace(entry, after=find_hash(cursor, target))
        audit_store.settle(cursor.execute, full)

    return work


def withdraw(entry: AuditEntry) -> Callable[[Any], None]:
    """Return work that removes an intent whose request was refused because the intent took too long."""

    def work(cursor: Any) -> None:  # noqa: ANN401 - as above
        audit_store.withdraw(cursor.execute, entry)

    return work


def record_task(entry: AuditEntry, instance: str) -> Callable[[Any], None]:
    """Return work that records what a task instance did, under the name of the task."""

    def work(cursor: Any) -> None:  # noqa: ANN401 - as above
        full = replace(entry, actor=find_task(cursor, instance) or entry.actor)
        audit_store.record(cursor.execute, full)

    return work


def begin_task(entry: AuditEntry, instance: str) -> Callable[[Any], AuditEntry]:
    """Return work that records the intent of a task instance."""

    def work(cursor: Any) -> AuditEntry:  # noqa: ANN401 - as above
        full = replace(entry, actor=find_task(cursor, instance) or entry.actor)
        audit_store.begin(cursor.execute, full)
        return full

    return work


def find_hash(cursor: Any, target: ChangedRow | None) -> str:  # noqa: ANN401 - as above
    """Return the SHA-256 of a row as PostgreSQL shows it, or an empty text if there is no such row."""
    return find_both(cursor, "", target)[1]


def find_both(cursor: Any, user: str, target: ChangedRow | None) -> tuple[str, str]:  # noqa: ANN401 - as above
    """Return the name of FAB's user with this id, and the hash of a row, with one statement or none."""
    is_number = user.isdecimal()
    parts: list[str] = []
    values: list[object] = []
    if is_number:
        parts.append(NAME)
        values.append(int(user))
    if target is not None:
        # Names of tables and columns come from the rules of this package, and values are parameters.
        where = " AND ".join(f"{column} = %s" for column in target.columns)
        parts.append(HASH.format(table=target.table, where=where))
        values.extend(target.values)
    if not parts:
        return user, ""
    cursor.execute(f"SELECT {', '.join(f'({one})' for one in parts)}", values)
    found = list(cursor.fetchone())
    name = (found.pop(0) or f"user {user}") if is_number else user
    return str(name), str(found[0] or "") if found else ""


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
