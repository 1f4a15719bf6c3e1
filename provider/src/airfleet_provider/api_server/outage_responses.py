"""Answers 503 while the database of an api-server is down, in place of misleading refusals.

Airflow and its auth manager catch some database errors, and answer that the password is wrong, or that an object does
not exist. A client believes such an answer and does not retry. So each request records whether the database failed
during it. A refusal of such a request becomes 503, which clients retry.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine, ExceptionContext

from airfleet_provider.compat.patches.outages import notice_exhausted_pools

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

BODY = b'{"detail":"the metadata database does not answer; try again"}'
HEADERS = (
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
    (b"retry-after", b"5"),
)
# SQLSTATE classes of a server that serves no client: connection, resources, operator intervention.
AWAY_CLASSES = ("08", "53", "57")
CANCELLED = "57014"
# A transaction that only reads: the server was the primary until a moment ago, and another one is now.
READ_ONLY = "25006"

_outages: ContextVar[list[str] | None] = ContextVar("outages", default=None)


class OutageResponses:
    """An ASGI application in front of another: turns the refusals (300-499) of requests with an outage into 503."""

    def __init__(self, app: App) -> None:
        self._app = app
        if not event.contains(Engine, "handle_error", note_error):
            event.listen(Engine, "handle_error", note_error)
            notice_exhausted_pools(note)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        outages: list[str] = []
        is_replaced = False

        async def answer(message: Message) -> None:
            nonlocal is_replaced
            if message["type"] == "http.response.start" and outages and 300 <= message["status"] < 500:
                is_replaced = True
                await send({"type": "http.response.start", "status": 503, "headers": list(HEADERS)})
                await send({"type": "http.response.body", "body": BODY})
            elif not is_replaced:
                await send(message)

        # Threads of this request have a copy of the context, which holds the same list.
        token = _outages.set(outages)
        try:
            await self._app(scope, receive, answer)
        finally:
            _outages.reset(token)


def note(error: BaseException) -> None:
    """Record for the current request that the database failed during it."""
    outages = _outages.get()
    if outages is not None:
        outages.append(type(error).__name__)


def note_error(context: ExceptionContext) -> None:
    """Record a database error if it is an outage; a failed pre-ping is none, because SQLAlchemy then reconnects."""
    if not context.is_pre_ping and (context.is_disconnect or is_away(context)):
        note(context.original_exception)


def is_away(context: ExceptionContext) -> bool:
    """Return whether the server or the network caused an error, and not the statement."""
    if isinstance(context.original_exception, OSError):
        return True
    kind = type(context.sqlalchemy_exception).__name__
    code = find_code(context.original_exception)
    if code is None:
        return kind in ("OperationalError", "InterfaceError")
    return code == READ_ONLY or (code[:2] in AWAY_CLASSES and code != CANCELLED)


def find_code(error: BaseException) -> str | None:
    """Return the SQLSTATE of a driver's error, or None if the server sent none."""
    code = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
    return None if code is None else str(code)
