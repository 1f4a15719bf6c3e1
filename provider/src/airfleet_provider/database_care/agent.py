"""Applies the steps of care one after another; takes the heartbeat index away and gives it back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract.locks import CARE_LOCK
from airfleet_provider.database_care import facts, rules
from airfleet_provider.database_care.facts import DatabaseFacts, Index
from airfleet_provider.database_care.rules import Alarm, CareKind, CareStep

# A statement that waits for a lock makes others wait behind it.
LOCK_WAIT = "2s"
# Building an index concurrently waits for transactions that are open, and nobody waits behind it.
INDEX_WAIT = "30s"
# A fleet's job `metadata` has ten minutes, and must not fail because a table is large or many transactions are open.
INDEX_LIMIT = "4min"
# Keeps the definition of the index in `airfleet.job`, from before it is dropped until it is back.
RECORD = "index ti_heartbeat"
DROPPED, GIVEN_BACK = "dropped ", "given back "
READ = "SELECT fingerprint FROM airfleet.job WHERE name = %s"
WRITE = (
    "INSERT INTO airfleet.job (name, fingerprint, ended_at) VALUES (%s, %s, clock_timestamp())"
    " ON CONFLICT (name) DO UPDATE SET fingerprint = EXCLUDED.fingerprint, ended_at = EXCLUDED.ended_at"
)
FORGET = "DELETE FROM airfleet.job WHERE name = %s"
HAS_RECORDS = "SELECT to_regclass('airfleet.job') IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Done:
    """A step, whether it succeeded, why not, and how long it took."""

    step: CareStep
    error: str | None
    took_s: float


@dataclass(frozen=True, slots=True)
class CareReport:
    """What was found, what was done, and what is there now."""

    before: DatabaseFacts
    done: tuple[Done, ...]
    after: DatabaseFacts
    alarms: tuple[Alarm, ...]


def care(connection: Any, *, report: Callable[[str], None] = lambda _: None) -> CareReport:  # noqa: ANN401 - psycopg2's, in autocommit mode
    """Do what the database needs. May be interrupted, and called again: done steps are not planned again.

    A step that fails, such as one that got no lock in two seconds, does not stop the others. Each step fails while
    another process takes steps.
    """
    query = metadata_db.query_with(connection)
    with _hold_lock(connection) as obstacle:
        before = facts.observe(query)
        limits = {"lock_timeout": LOCK_WAIT}
        done = _take(connection, rules.plan(before), before.indexes, obstacle=obstacle, limits=limits, report=report)
    after = facts.observe(query)
    return CareReport(before, done, after, rules.list_alarms(after))


def add_indexes(connection: Any) -> tuple[Done, ...]:  # noqa: ANN401 - as above
    """Make the indexes of airfleet on Airflow's tables where they are missing or were left unfinished.

    Locks nobody out. What fails is left to the next call, or to `care`.
    """
    with _hold_lock(connection) as obstacle:
        indexes = facts.list_indexes(metadata_db.query_with(connection))
        limits = {"lock_timeout": INDEX_WAIT, "statement_timeout": INDEX_LIMIT}
        return _take(connection, rules.plan_own_indexes(indexes), indexes, obstacle=obstacle, limits=limits)


@contextmanager
def _hold_lock(connection: Any) -> Iterator[str | None]:  # noqa: ANN401 - as above
    """Yield None, or why no step can be taken now: another process takes some.

    An index that another process builds looks like one whose build was interrupted. To drop it waits for the builder,
    which waits for that statement to end. The lock is one of the server's session. So it also shows the work of a
    process that was killed, which the server continues.
    """
    import psycopg2  # noqa: PLC0415 - as below

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_lock({CARE_LOCK})")
        is_held = cursor.fetchone()[0]
    try:
        yield None if is_held else "another process changes indexes of this database now"
    finally:
        if is_held:
            with suppress(psycopg2.Error):  # the lock ends with the connection
                _execute(connection, f"SELECT pg_advisory_unlock({CARE_LOCK})")


def _take(
    connection: Any,  # noqa: ANN401 - as above
    steps: Iterable[CareStep],
    indexes: Mapping[str, Index],
    *,
    obstacle: str | None,
    limits: Mapping[str, str],
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Done, ...]:
    import psycopg2  # noqa: PLC0415 - Airflow's driver; its types are not known here

    if obstacle:
        return tuple(Done(step, obstacle, 0.0) for step in steps)
    done = []
    for name, limit in limits.items():
        _execute(connection, f"SET {name} = '{limit}'")
    for step in steps:
        report(f"{step.kind}: {step.target}")
        begun, error = time.monotonic(), None
        if step.kind is CareKind.HEARTBEAT:
            _execute(connection, WRITE, RECORD, DROPPED + indexes[step.target].definition)
        try:
            _execute(connection, step.sql)
        except psycopg2.Error as failure:
            error = str(failure).strip()
        done.append(Done(step, error, round(time.monotonic() - begun, 2)))
    return tuple(done)


def give_back(connection: Any) -> bool:  # noqa: ANN401 - as above
    """Make the heartbeat index again where care dropped it, as a migration of Airflow may expect it; whether it did.

    Does nothing in a database that has no tables yet.
    """
    record = _read_record(connection)
    if record is None or not record.startswith(DROPPED):
        return False
    definition = record.removeprefix(DROPPED)
    if "CONCURRENTLY" not in definition:
        definition = definition.replace("INDEX ", "INDEX CONCURRENTLY IF NOT EXISTS ", 1)
    found = facts.observe(metadata_db.query_with(connection)).indexes.get(rules.HEARTBEAT_INDEX)
    if found is not None and not found.is_valid:
        _execute(connection, f"DROP INDEX CONCURRENTLY IF EXISTS public.{rules.HEARTBEAT_INDEX}")
    _execute(connection, definition)
    _execute(connection, WRITE, RECORD, GIVEN_BACK + definition)
    return True


def take_again(connection: Any) -> bool:  # noqa: ANN401 - as above
    """Drop the heartbeat index again after a migration before which it was given back; whether it did."""
    record = _read_record(connection)
    if record is None or not record.startswith(GIVEN_BACK):
        return False
    found = facts.observe(metadata_db.query_with(connection)).indexes.get(rules.HEARTBEAT_INDEX)
    if found is None:  # this version of Airflow has none
        _execute(connection, FORGET, RECORD)
        return False
    _execute(connection, WRITE, RECORD, DROPPED + found.definition)
    _execute(connection, f"DROP INDEX CONCURRENTLY IF EXISTS public.{rules.HEARTBEAT_INDEX}")
    return True


def _read_record(connection: Any) -> str | None:  # noqa: ANN401 - as above
    with connection.cursor() as cursor:
        cursor.execute(HAS_RECORDS)
        if not cursor.fetchone()[0]:
            return None
        cursor.execute(READ, (RECORD,))
        row = cursor.fetchone()
    return str(row[0]) if row else None


def _execute(connection: Any, statement: str, *values: str) -> None:  # noqa: ANN401 - as above
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
