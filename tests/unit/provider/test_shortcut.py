"""The short way answers what is usual; whatever is not, Airflow answers, from the first byte of the request on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from airfleet_provider.execution.shortcut import Rows, Shortcut, is_to_be_renewed

ID = "01a20eed-65a7-739f-9629-4b534eed291f"
VERSION = "2026-06-30"
CLAIMS = {"scope": "execution", "exp": 2_000_000_000, "iat": 1_999_990_000}


class Models:
    """Checks that let through what a test gives them."""

    version = VERSION
    kept_runs = 30
    claims: Mapping[str, Any] = CLAIMS

    async def read_claims(self, token: str) -> tuple[str, Mapping[str, Any]]:
        if token != "good":
            raise ValueError("forged")
        return ID, self.claims

    def read_heartbeat(self, body: bytes) -> dict[str, Any]:
        if body != b"alive":
            raise ValueError("not a heartbeat")
        return {"hostname": "h", "pid": 1}


def send(
    *,
    path: str = f"/execution/task-instances/{ID}/heartbeat",
    method: str = "PUT",
    token: str = "good",  # noqa: S107
    version: str = VERSION,
    query: bytes = b"",
    content: str = "application/json",
    parts: tuple[bytes, ...] = (b"ali", b"ve"),
    row: object = {"id": ID},
    claims: Mapping[str, Any] = CLAIMS,
) -> tuple[int, bytes]:
    """The status of the answer, and what Airflow got to read, if it did: then the status is 0."""
    read = b""
    answers: list[int] = []
    pending = [{"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts]

    async def receive() -> dict[str, Any]:
        return pending.pop(0)

    async def respond(message: dict[str, Any]) -> None:
        answers.append(message.get("status", 0))

    async def airflow(scope: object, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        nonlocal read
        while True:
            message = await receive()
            read += message["body"]
            if not message["more_body"]:
                return

    def ask(sql: str, words: object) -> Any:  # noqa: ANN401 - a row, or an error
        if isinstance(row, Exception):
            raise row
        return row

    models = Models()
    models.claims = claims
    headers = [(b"authorization", f"Bearer {token}".encode()), (b"airflow-api-version", version.encode())]
    headers += [(b"content-type", content.encode())] if content else []
    scope = {"type": "http", "path": path, "method": method, "query_string": query, "headers": headers}
    asyncio.run(Shortcut(airflow, models, ask)(scope, receive, respond))
    return (answers[0] if answers else 0), read


def test_what_is_usual_is_answered() -> None:
    assert send() == (204, b"")
    assert send(content="application/json; charset=utf-8") == (204, b"")


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/execution/health"},
        {"path": f"/execution/task-instances/{ID}/heartbeat/more"},
        {"method": "POST"},
        {"token": "forged"},
        {"version": "2025-11-05"},
        {"query": b"a=b"},
        {"content": "text/plain"},
        {"content": ""},
        {"row": None},
        {"row": OSError("the database has gone")},
        {"claims": {**CLAIMS, "scope": "workload"}},
        {"claims": {**CLAIMS, "exp": 1_000_000_000}},
        {"path": f"/execution/task-instances/{ID[:-1]}0/heartbeat"},
    ],
)
def test_all_else_is_airflow_s_with_the_whole_body(change: dict[str, Any]) -> None:
    assert send(**change) == (0, b"alive")


def test_a_body_that_airflow_must_refuse_is_airflow_s() -> None:
    assert send(parts=(b"dead",)) == (0, b"dead")


def test_a_token_is_left_to_airflow_when_it_would_renew_it() -> None:
    claims = {"exp": 1000, "iat": 0}
    assert not is_to_be_renewed(claims, 799)
    assert is_to_be_renewed(claims, 800)
    assert is_to_be_renewed({"exp": 100, "iat": 50}, 70)  # the last half a minute, however short it lives


def test_a_connection_that_failed_is_not_used_again() -> None:
    made: list[Connection] = []

    class Connection:
        is_closed = False

        def __init__(self) -> None:
            made.append(self)

        def cursor(self) -> Connection:
            raise OSError("broken")

        def close(self) -> None:
            self.is_closed = True

    rows = Rows(Connection)
    for _ in range(2):
        with pytest.raises(OSError, match="broken"):
            rows.ask("SELECT 1", {})
    assert [one.is_closed for one in made] == [True, True]
