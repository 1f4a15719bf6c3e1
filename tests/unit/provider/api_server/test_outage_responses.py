"""A refusal is believed only when the database did not fail the request meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.api_fastapi.execution_api.routes import task_instances as routes
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DataError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import Pool, QueuePool

from airfleet_provider.api_server import outage_responses
from airfleet_provider.compat.patches import execution_api


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """SQLAlchemy as it was before a test."""
    connect = Pool.connect
    yield
    if event.contains(Engine, "handle_error", outage_responses.note_error):
        event.remove(Engine, "handle_error", outage_responses.note_error)
    Pool.connect = connect  # type: ignore[method-assign]


def refuse() -> None:
    with create_engine("postgresql+psycopg2://nobody@127.0.0.1:1/x").connect():
        pass


def exhaust() -> None:
    engine = create_engine("sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with engine.connect(), engine.connect():
        pass


class Demoted(sqlite3.OperationalError):
    """What a server says to a write that was the primary until a moment ago."""

    sqlstate = "25006"


def write_to_replica() -> None:
    def connect() -> sqlite3.Connection:
        raise Demoted

    with create_engine("sqlite://", creator=connect).connect():
        pass


def misspell() -> None:
    with create_engine("sqlite://").connect() as connection:
        connection.exec_driver_sql("SELECT ?", (1, 2))


def in_thread(fail: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(swallow, fail))
        thread.start()
        thread.join()

    return run


def swallow(fail: Callable[[], None]) -> None:
    with contextlib.suppress(SQLAlchemyError):
        fail()


def ask(status: int, fail: Callable[[], None] = lambda: None) -> tuple[int, bytes]:
    """What a client is told by an application that swallows an error and answers."""

    async def app(_: Any, __: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        swallow(fail)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"as ", "more_body": True})
        await send({"type": "http.response.body", "body": b"before"})

    sent: list[Any] = []

    async def send(message: Any) -> None:  # noqa: ANN401
        sent.append(message)

    async def receive() -> Any:  # noqa: ANN401
        return {"type": "http.request"}

    asyncio.run(outage_responses.OutageResponses(app)({"type": "http"}, receive, send))
    return sent[0]["status"], b"".join(one["body"] for one in sent[1:])


@pytest.mark.parametrize(
    "fail",
    [refuse, exhaust, in_thread(refuse), write_to_replica],
    ids=["away", "hangs", "in a thread", "a replica now"],
)
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 422])
def test_a_refusal_after_an_outage_is_try_again(status: int, fail: Callable[[], None]) -> None:
    assert ask(status, fail) == (503, outage_responses.BODY)


def test_what_was_done_stays_done() -> None:
    assert ask(201, refuse) == (201, b"as before")
    assert ask(500, refuse) == (500, b"as before")


@pytest.mark.parametrize("fail", [lambda: None, misspell], ids=["no error", "a wrong statement"])
def test_a_refusal_without_an_outage_is_believed(fail: Callable[[], None]) -> None:
    assert ask(404, fail) == (404, b"as before")
    ask(404, refuse)
    assert ask(404, fail) == (404, b"as before")


def test_headers_of_one_answer_do_not_reach_the_next() -> None:
    async def app(_: Any, __: Any, send: Any) -> None:  # noqa: ANN401
        swallow(refuse)
        await send({"type": "http.response.start", "status": 404, "headers": []})

    async def send(message: Any) -> None:  # noqa: ANN401
        message.get("headers", []).append((b"content-encoding", b"gzip"))

    asyncio.run(outage_responses.OutageResponses(app)({"type": "http"}, None, send))  # type: ignore[arg-type]
    assert (b"content-encoding", b"gzip") not in outage_responses.HEADERS


def test_a_report_that_the_database_lost_is_no_failure_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[BaseException] = []
    errors = iter([OperationalError("", None, Exception("gone")), ValueError("a bug")])

    def update(**_: object) -> None:
        raise next(errors)

    monkeypatch.setattr(routes, "_create_ti_state_update_query_and_update_state", update)
    execution_api.report_outages(noted.append)
    report = routes._create_ti_state_update_query_and_update_state
    with pytest.raises(DataError):
        report(ti_patch_payload=None)
    assert len(noted) == 1
    with pytest.raises(ValueError, match="a bug"):
        report(ti_patch_payload=None)
