"""What `airfleet audit archive` leaves: a whole file, or none, and the chain free for the platform meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airfleet.errors import AirfleetError
from airfleet.operations import audit
from airfleet_provider.contract import audit_store
from airfleet_provider.contract.audit_log import BEGINNING, CUT, AuditEntry, AuditOutcome, AuditSource, Row

AT = datetime(2026, 11, 1, tzinfo=UTC)


def make_rows(count: int) -> list[Row]:
    rows: list[Row] = []
    for number in range(1, count + 1):
        previous = rows[-1].hash if rows else BEGINNING
        row = Row(number, AT, f"id{number}", "{}", previous, "")
        rows.append(replace(row, hash=row.compute_hash()))
    return rows


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    target = tmp_path / "old.jsonl"
    rows = make_rows(4)

    def read() -> Iterator[Row]:
        for row in rows[1:]:
            assert row.number == 2 or target.exists()
            yield row

    assert audit.write_rows(target, read()) == (3, rows[-1])
    assert list(audit.read_file(target)) == rows[1:]
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(AirfleetError, match="exists already"):
        audit.write_rows(target, iter(rows))


def test_rows_that_were_edited_leave_no_file(tmp_path: Path) -> None:
    rows = make_rows(4)
    rows[2] = replace(rows[2], entry='{"actor": "x"}')
    with pytest.raises(AirfleetError, match="row 3 was edited"):
        audit.write_rows(tmp_path / "old.jsonl", iter(rows))
    assert audit.write_rows(tmp_path / "old.jsonl", iter(())) is None
    assert list(tmp_path.iterdir()) == []


def test_the_chain_is_held_only_at_the_end_of_a_cut() -> None:
    said: list[str] = []
    entry = AuditEntry(id="x", source=AuditSource.AIRFLEET, actor="a", action=CUT, outcome=AuditOutcome.DONE)
    audit_store.cut(lambda statement, _: said.append(statement), entry, 3)
    assert "audit_head" not in "".join(said)
    assert [one.split()[0] for one in said] == ["SELECT", "DELETE", "INSERT"]
