"""Reports of what tasks used: who may report what, and what becomes of them when the database is away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airfleet_provider.contract.task_usage import REPORTED_AT, TaskUsage
from airfleet_provider.execution_api import usage_reports
from airfleet_provider.execution_api.usage_reports import UsageReport, UsageReports, UsageStore

FIRST, OTHER = "0198b9c0-0000-7000-8000-000000000001", "0198b9c0-0000-7000-8000-000000000002"
GOOD = {**TaskUsage(cpu_s=1.5, memory=300 << 20, read=4096).to_json(), "wall_s": 2.0, "exit_code": 0}


class RefusedStatementError(Exception):
    """An error of the server, as psycopg2 has it."""

    pgcode = ""


class FakeDatabase:
    """Remembers what was executed. It cannot be reached while `is_away`; `breaks_off` breaks one connection.

    `refuses` is the code with which it refuses the next statement.
    """

    def __init__(self) -> None:
        self.is_away = self.breaks_off = False
        self.refuses = ""
        self.rows: list[list[dict[str, Any]]] = []
        self.others: list[str] = []
        self.fails_to_prune: Exception | None = None

    def cursor(self) -> FakeDatabase:
        return self

    def __enter__(self) -> FakeDatabase:
        return self

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None: ...

    def connect(self) -> FakeDatabase:
        if self.is_away:
            raise OSError("no route to host")
        return self

    def execute(self, sql: str, words: dict[str, Any]) -> None:
        if "rows" in words:
            self.rows.append(json.loads(words["rows"]))
        elif self.fails_to_prune:
            raise self.fails_to_prune
        else:
            self.others.append(sql)
        if self.breaks_off:
            self.breaks_off = False
            raise OSError("server closed the connection unexpectedly")
        if self.refuses:
            error = RefusedStatementError()
            error.pgcode, self.refuses = self.refuses, ""
            raise error


def put(
    content: object, *, token: str = FIRST, path: str = REPORTED_AT, store: UsageStore | None = None
) -> tuple[int, UsageStore]:
    """Return the status of the answer to a report, and the store after it; 299 is Airflow's answer."""
    store = store or UsageStore(FakeDatabase)
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    sent: list[dict[str, Any]] = []

    async def pass_on(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        await send({"type": "http.response.start", "status": 299, "headers": []})

    async def read_token(text: str) -> str:
        if text not in (FIRST, OTHER):
            raise ValueError(text)
        return text

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def ask() -> None:
        headers = [(b"authorization", f"Bearer {token}".encode()), (b"content-length", str(len(body)).encode())]
        scope = {"type": "http", "method": "PUT", "path": path, "headers": headers}
        await UsageReports(pass_on, store, read_token)(scope, receive, send)

    asyncio.run(ask())
    return int(sent[0]["status"]), store


def test_a_report_is_about_the_attempt_of_its_token_whatever_it_says() -> None:
    status, store = put({**GOOD, "instance": OTHER})
    assert status == 204
    assert list(store.pending) == [FIRST]
    assert store.pending[FIRST]["instance"] == FIRST
    assert store.pending[FIRST]["memory_kib"] == 300 << 10


@pytest.mark.parametrize(
    ("content", "token", "status"),
    [
        (GOOD, "no token of ours", 403),
        ({**GOOD, "cpu_s": -1}, FIRST, 422),
        ({**GOOD, "cpu_s": 1e300}, FIRST, 422),
        ({**GOOD, "memory": "much"}, FIRST, 422),
        (b'{"wall_s": NaN, "exit_code": 0}', FIRST, 422),
        (b"[]", FIRST, 422),
        (b"x" * 5000, FIRST, 413),
    ],
)
def test_what_is_no_report_of_a_task_is_refused(content: object, token: str, status: int) -> None:
    said, store = put(content, token=token)
    assert said == status
    assert not store.pending


def test_other_requests_are_answered_by_airflow() -> None:
    assert put(GOOD, path="/execution/xcoms/a/b/c/d")[0] == 299


def test_processes_of_one_attempt_are_one_row_with_the_highest_peak() -> None:
    _, store = put(GOOD)
    put({**GOOD, "memory": 100 << 20, "cpu_s": None, "exit_code": -9}, store=store)
    row = store.pending[FIRST]
    assert (row["wall_s"], row["cpu_s"], row["memory_kib"], row["parts"]) == (4.0, 1.5, 300 << 10, 2)
    assert row["exit_code"] == -9


def test_an_outage_of_the_database_loses_no_report_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_reports, "MOST_PENDING", 1)
    database = FakeDatabase()
    store = UsageStore(database.connect)
    report = UsageReport.model_validate(GOOD)
    database.is_away = True
    store.add(FIRST, report)
    store.write()
    assert not store.add(OTHER, report), "no more may wait"
    assert store.add(FIRST, report), "an attempt that waits already takes no more room"
    database.is_away = False
    store.write()
    assert [[row["parts"] for row in rows] for rows in database.rows] == [[2]]
    assert not store.pending


def test_rows_that_may_be_written_already_are_not_written_again() -> None:
    database = FakeDatabase()
    store = UsageStore(database.connect)
    store.add(FIRST, UsageReport.model_validate(GOOD))
    database.breaks_off = True
    store.write()
    store.write()
    assert len(database.rows) == 1, "twice, they would be added up"


@pytest.mark.parametrize(
    ("code", "rows"),
    [("22003", 0), ("23514", 0), ("57P01", 1), ("42P01", 1)],
    ids=["a value out of range", "a broken constraint", "the server stops", "no table before the migration"],
)
def test_a_row_that_the_database_never_takes_keeps_no_other_back(code: str, rows: int) -> None:
    database = FakeDatabase()
    store = UsageStore(database.connect)
    store.add(FIRST, UsageReport.model_validate(GOOD))
    database.refuses = code
    store.write()
    assert (len(store.pending), store.dropped) == (rows, 1 - rows)


@pytest.mark.parametrize("name", ["wall_s", "cpu_s"])
def test_a_time_that_a_column_cannot_hold_is_none(name: str) -> None:
    # PostgreSQL refuses a `real` that is not 0 and less than 1e-45, and with it all rows of the statement.
    _, store = put({**GOOD, name: 1e-300})
    assert store.pending[FIRST][name] == 0.0


def test_old_rows_are_removed_every_hour() -> None:
    now = 0.0
    database = FakeDatabase()
    store = UsageStore(lambda: database, clock=lambda: now)
    store.write()
    assert not database.others
    now = 3601.0
    store.write()
    store.write()
    assert len(database.others) == 1
    assert database.others[0].startswith("DELETE FROM airfleet.task_usage")


class ServerError(Exception):
    """An error of the server, which has undone the statement."""

    pgcode = "40P01"


@pytest.mark.parametrize("error", [ServerError("deadlock detected"), OSError("server closed the connection")])
def test_rows_that_are_written_stay_written_once_if_old_ones_cannot_be_removed(error: Exception) -> None:
    now = 0.0
    database = FakeDatabase()
    store = UsageStore(lambda: database, clock=lambda: now)
    store.add(FIRST, UsageReport.model_validate(GOOD))
    database.fails_to_prune, now = error, 3601.0
    store.write()
    assert (store.pending, store.dropped) == ({}, 0)
    store.write()
    assert [[row["parts"] for row in rows] for rows in database.rows] == [[1]]


def test_what_waits_is_written_before_the_process_stops() -> None:
    database = FakeDatabase()
    store = UsageStore(lambda: database)
    store.add(FIRST, UsageReport.model_validate(GOOD))

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.shutdown"}

    async def end(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        assert (await receive())["type"] == "lifespan.shutdown"
        assert [[row["instance"] for row in rows] for rows in database.rows] == [[FIRST]]

    async def read_token(text: str) -> str:
        return text

    asyncio.run(UsageReports(end, store, read_token)({"type": "lifespan"}, receive, None))
    assert database.rows
