"""The fast path answers ordinary calls; Airflow answers all others, from the first byte of the request on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from airfleet_provider.contract import fallbacks
from airfleet_provider.contract.fallbacks import Counter
from airfleet_provider.execution_api.fast_path import Bypass, FastPath, Rows, is_to_be_renewed

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
    counter: Counter | None = None,
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
    counter = counter or Counter("execution-api", None)
    asyncio.run(FastPath(airflow, models, ask, counter=counter)(scope, receive, respond))
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

        def execute(self, *_: object) -> Connection:
            raise OSError("broken")

        def close(self) -> None:
            self.is_closed = True

    rows = Rows(Connection)
    for _ in range(2):
        with pytest.raises(OSError, match="broken"):
            rows.ask("SELECT 1", {})
    assert [one.is_closed for one in made] == [True, True]


def test_each_call_that_has_a_short_way_is_counted_by_why_it_was_not_taken(tmp_path: Path) -> None:
    folder = tmp_path / "fallbacks"
    counter = Counter("execution-api", folder)
    denied = RuntimeError("permission denied for table task_instance\nDETAIL: value of one call")
    send(counter=counter)
    send(counter=counter, path="/execution/health")
    for row in (denied, denied, None):
        send(counter=counter, row=row)
    send(counter=counter, token="forged\x1b[2J")
    tally = fallbacks.read(*((folder / f"execution-api.{kind}").read_text() for kind in ("count", "json")))
    assert tally.fast == 1
    assert {one.text: (one.count, one.expected) for one in tally.reasons} == {
        "heartbeat: RuntimeError: permission denied for table task_instance": (2, False),
        "heartbeat: the task instance or value needs Airflow's own code": (1, True),
        "heartbeat: the token is not valid": (1, True),
    }


def test_where_airflow_answers_everything_each_call_is_counted(tmp_path: Path) -> None:
    counter, answered = Counter("execution-api", tmp_path / "fallbacks"), []

    async def airflow(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        answered.append(scope["path"])

    for path in (f"/execution/task-instances/{ID}/heartbeat", "/execution/health"):
        scope = {"type": "http", "path": path, "method": "PUT", "query_string": b""}
        asyncio.run(Bypass(airflow, counter, "Airflow 9 answers in another way")(scope, None, None))
    assert len(answered) == 2
    tally = fallbacks.read("", (tmp_path / "fallbacks" / "execution-api.json").read_text())
    assert [(one.text, one.count) for one in tally.reasons] == [("Airflow 9 answers in another way", 1)]


def test_words_of_a_caller_begin_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "airfleet")
    path = "/execution/xcoms/d/r/t/key\nFORGED LOG LINE\x1b[2J"
    assert send(path=path, method="GET", row={"value": "1"}, parts=(b"",))[0] == 200
    (line,) = caplog.messages
    assert "key\\nFORGED LOG LINE\\x1b[2J" in line
    assert line.isprintable()
