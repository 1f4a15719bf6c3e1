"""What a turn of the loop of traces writes when the database refuses a part of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from airfleet_provider.contract.tracing_policy import TracingPolicy
from airfleet_provider.traces import store
from airfleet_provider.traces.collector import ExportOutcome, ExportVerdict
from airfleet_provider.traces.loop import TraceLoop
from airfleet_provider.traces.store import WaitingRun

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class FakeDatabase:
    """Answers each statement with the rows of its name; `written` has what was committed."""

    def __init__(self, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self.epoch, self.stopping = 1, threading.Event()
        # Statements that begin so take too long.
        self.refused: str | None = None
        self.written: list[str] = []
        self._rows = {store.SQL[name]: some for name, some in rows.items()}
        self._names = {store.SQL[name]: name for name in ("begin", "note", "advance", "fail")}
        self._open: list[str] = []

    def execute(self, sql: str, _: object = None) -> FakeDatabase:
        if self.refused and sql.startswith(self.refused):
            raise psycopg.errors.QueryCanceled("statement timeout")
        self._open.append(self._names.get(sql, ""))
        self._found = self._rows.get(sql, ())
        return self

    def fetchall(self) -> Sequence[Mapping[str, Any]]:
        return self._found

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self._found)

    @contextmanager
    def write(self, **_: object) -> Iterator[FakeDatabase]:
        self._open = []
        yield self
        self.written += [name for name in self._open if name]

    read = write


class FakeCollector:
    def send(self, _: bytes) -> ExportOutcome:
        return ExportOutcome(ExportVerdict.TAKEN)


def make_loop() -> TraceLoop:
    return TraceLoop(TracingPolicy("http://127.0.0.1"), FakeCollector(), clock=lambda: 1000.0)


def test_runs_are_noted_though_old_rows_cannot_be_removed_in_time() -> None:
    database: Any = FakeDatabase({"now": [{"now": NOW, "looked": None}], "unnoted": [{"id": 7}], "newest": [{"id": 7}]})
    database.refused = "DELETE FROM airfleet.traced_run"
    turns = make_loop()
    with pytest.raises(psycopg.errors.QueryCanceled):
        turns.once(database)
    assert database.written == ["begin", "note", "advance"]
    turns.once(database)  # the next try is in an hour


def test_a_run_that_is_not_read_in_time_keeps_no_other_back(monkeypatch: pytest.MonkeyPatch) -> None:
    database: Any = FakeDatabase({"now": [{"now": NOW, "looked": None}], "newest": [{"id": 7}]})
    monkeypatch.setattr(store, "list_waiting", lambda *_: [WaitingRun(7, "sales", "huge", NOW, None, 0)])

    def read(*_: object) -> None:
        raise psycopg.errors.QueryCanceled("statement timeout")

    monkeypatch.setattr(store, "read_run", read)
    make_loop().once(database)
    assert database.written[-1] == "fail", "it comes after the others in the next turn"
