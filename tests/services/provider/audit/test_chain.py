"""The chain of the audit log in a real PostgreSQL: what is recorded, and what an attack leaves behind."""

# ruff: noqa: ANN401 - values of entries

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from airfleet.operations.audit import AuditLog
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract import audit_log, audit_store
from airfleet_provider.contract.audit_log import CUT, AuditEntry, AuditOutcome, AuditSource, Head, Row

Database = psycopg.Connection[Any]
KEY = audit_log.derive_key("a secret that signs tokens")


def make(action: str, **more: Any) -> AuditEntry:
    words = {"source": AuditSource.API, "actor": "alice", "outcome": AuditOutcome.DONE, "status": 200, **more}
    return AuditEntry(id=str(uuid.uuid4()), action=action, **words)


def record(database: Database, *entries: AuditEntry) -> None:
    for one in entries:
        audit_store.record(database.execute, one)


def read(database: Database) -> list[Row]:
    return [Row(*found) for found in database.execute(audit_store.find_all(), {"until": None})]


def read_head(database: Database) -> Head:
    found = database.execute(audit_store.find_head()).fetchone()
    assert found is not None
    return Head(*found)


def verify(database: Database, anchors: Iterable[Head] = ()) -> list[tuple[int, str]]:
    found = audit_log.verify(read(database), read_head(database), anchors, key=KEY)
    return [(one.number, one.what) for one in found]


def tamper(database: Database, statement: str, *words: object) -> None:
    """Do what only an owner of the tables can do: switch the triggers off first."""
    database.execute("ALTER TABLE airfleet.audit DISABLE TRIGGER USER")
    database.execute(statement, words)
    database.execute("ALTER TABLE airfleet.audit ENABLE TRIGGER USER")


@pytest.fixture
def ten(database: Database) -> Database:
    record(database, *(make(f"DELETE /api/v2/pools/{number}") for number in range(10)))
    return database


def test_rows_are_numbered_and_follow_each_other(ten: Database) -> None:
    rows = read(ten)
    assert [row.number for row in rows] == list(range(1, 11))
    assert [row.previous for row in rows[1:]] == [row.hash for row in rows[:-1]]
    assert verify(ten) == []


def test_an_odd_text_is_hashed_as_it_is_stored(database: Database) -> None:
    record(database, make("POST /api/v2/pools/\udc80\0é\u2028 \\u0000", actor="'; DROP TABLE airfleet.audit; --"))
    assert verify(database) == []


def test_an_entry_that_is_recorded_twice_has_one_row(database: Database) -> None:
    one = make("POST /api/v2/pools")
    record(database, one, make("POST /api/v2/dags"), one)
    assert len(read(database)) == 2
    assert verify(database) == []


@pytest.mark.parametrize("statement", ["UPDATE airfleet.audit SET entry = '{}'", "DELETE FROM airfleet.audit"])
def test_a_statement_by_mistake_changes_nothing(ten: Database, statement: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="stay as they are"):
        ten.execute(statement)
    with pytest.raises(psycopg.errors.RaiseException, match="stay as they are"):
        ten.execute("TRUNCATE airfleet.audit")
    assert verify(ten) == []


def test_an_edited_row_is_named(ten: Database) -> None:
    tamper(ten, "UPDATE airfleet.audit SET entry = replace(entry, 'alice', 'mallory') WHERE number = 4")
    assert verify(ten) == [(4, "was edited: its hash is not that of its content")]


def test_an_edited_row_with_a_new_hash_does_not_fit_the_next(ten: Database) -> None:
    forged = "encode(sha256(convert_to(previous || chr(10) || 'x', 'UTF8')), 'hex')"
    tamper(ten, f"UPDATE airfleet.audit SET entry = '{{}}', hash = {forged} WHERE number = 4")  # noqa: S608
    assert [number for number, _ in verify(ten)] == [4, 5]


def test_a_removed_row_is_named(ten: Database) -> None:
    tamper(ten, "DELETE FROM airfleet.audit WHERE number IN (5, 6)")
    assert verify(ten) == [(5, "is missing (rows 5-6 were removed)")]


def test_the_first_and_the_last_rows_cannot_be_removed_unnoticed(ten: Database) -> None:
    tamper(ten, "DELETE FROM airfleet.audit WHERE number > 8 OR number < 3")
    assert verify(ten) == [
        (2, "is missing, and no cut of the log is recorded that removed it"),
        (9, "is missing, as all rows from here to 10"),
    ]


def test_a_chain_that_was_made_anew_differs_from_the_heads_outside(ten: Database) -> None:
    anchors = [
        Head(row.number, row.hash, "2026-01-01T00:00:00Z").sign(KEY) for row in read(ten) if row.number in (3, 7)
    ]
    # The whole log again, with one other row, through the trigger itself: each hash fits.
    texts = [row.entry for row in read(ten)]
    tamper(ten, "TRUNCATE airfleet.audit")
    ten.execute("UPDATE airfleet.audit_head SET number = 0, hash = repeat('0', 64)")
    for number, text in enumerate(texts, 1):
        entry = "{}" if number == 6 else text
        ten.execute("INSERT INTO airfleet.audit (id, entry) VALUES (gen_random_uuid(), %s)", (entry,))
    assert verify(ten) == []
    assert [number for number, _ in verify(ten, anchors)] == [3, 7]


def test_a_log_that_was_cut_off_at_its_end_is_shorter_than_a_head_outside(ten: Database) -> None:
    anchor = read_head(ten).sign(KEY)
    tamper(ten, "DELETE FROM airfleet.audit WHERE number > 8")
    ten.execute(
        "UPDATE airfleet.audit_head SET (number, hash) = (SELECT number, hash FROM airfleet.audit WHERE number = 8)"
    )
    assert verify(ten) == []
    [(number, what)] = verify(ten, [anchor])
    assert (number, "there were 10 rows" in what) == (9, True)


def test_a_forged_head_is_named(ten: Database) -> None:
    head = read_head(ten).sign(KEY)
    forged = Head(head.number, "f" * 64, head.at, head.key, head.signature)
    assert verify(ten, [forged]) == [(10, f"has a head of {head.at} whose signature is forged")]


def test_a_recorded_cut_leaves_a_chain_that_can_be_verified(ten: Database) -> None:
    last = read(ten)[5]
    with ten.transaction():
        entry = make(CUT, detail={"number": last.number, "hash": last.hash})
        audit_store.cut(ten.execute, entry, last.number)
    assert [row.number for row in read(ten)] == [7, 8, 9, 10, 11]
    assert verify(ten) == []
    # The leave ends with its transaction.
    with pytest.raises(psycopg.errors.RaiseException):
        ten.execute("DELETE FROM airfleet.audit WHERE number = 7")


def test_a_cut_that_was_only_recorded_in_the_database_is_named(ten: Database, tmp_path: Path) -> None:
    # Whoever may write the database can do all that `airfleet audit archive` does there.
    last = read(ten)[5]
    with ten.transaction():
        audit_store.cut(ten.execute, make(CUT, detail={"number": last.number, "hash": last.hash}), last.number)
    ten.row_factory = dict_row
    fleet: Any = None
    log = AuditLog(ten, fleet, StateFolder(tmp_path))
    assert [one.number for one in log.verify(()).findings] == [6]
    # One that airfleet makes is known.
    assert log.archive(datetime.now(UTC), tmp_path / "old.jsonl") == 5
    assert log.verify(()).findings == ()


def test_a_cut_that_says_nothing_that_can_be_read_spoils_no_verification(ten: Database) -> None:
    record(ten, make(CUT, detail=[6]))
    tamper(ten, "DELETE FROM airfleet.audit WHERE number <= 6")
    assert [number for number, _ in verify(ten)] == [6]


def test_two_sessions_append_one_after_the_other(ten: Database, server: Any) -> None:
    with psycopg.connect(server.dsn) as other:
        record(other, make("PATCH /api/v2/dags/a"))
        with psycopg.connect(server.dsn, autocommit=True) as third:
            third.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                record(third, make("PATCH /api/v2/dags/b"))
        other.rollback()
    record(ten, make("PATCH /api/v2/dags/c"))
    assert read_head(ten).number == 11
    assert verify(ten) == []


def test_an_intent_without_an_end_becomes_unknown_and_its_late_end_has_a_row_of_its_own(database: Database) -> None:
    entry = make("DELETE /api/v2/dags/a", outcome=AuditOutcome.BEGUN, status=None)
    audit_store.begin(database.execute, entry)
    audit_store.expire(database.execute, after_s=3600)
    assert read(database) == []
    audit_store.expire(database.execute, after_s=0)
    assert [row.fields["outcome"] for row in read(database)] == ["unknown"]
    ended = replace(entry, outcome=AuditOutcome.DONE)
    for _ in range(2):  # the answer to the first may be lost
        audit_store.settle(database.execute, ended)
    assert [row.fields["outcome"] for row in read(database)] == ["unknown", "done"]
    assert verify(database) == []


def test_heads_are_found_among_other_lines() -> None:
    head = Head(3, "ab", "2026-01-01T00:00:00Z").sign(KEY)
    lines = ["something else {", f"2026 INFO audit: {audit_log.HEAD_LINE}{head.to_line()}\n", head.to_line()[:20]]
    assert list(audit_log.read_heads(lines)) == [head]


def test_a_row_survives_its_way_through_a_file(ten: Database) -> None:
    rows = read(ten)
    again = [Row.from_json(row.to_json()) for row in rows]
    assert [row.compute_hash() for row in again] == [row.hash for row in rows]
    assert list(audit_log.verify(again, None, ())) == []
