"""Answers of an api-server while its database is away: try again, whatever the code behind it made of the error.

Airflow and its auth manager swallow some errors of the database, and answer that the password is wrong, or that there
is no such thing. A client believes that, and does not ask again. So each request remembers whether the database failed
it, and a refusal of such a request becomes 503, which clients retry.
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
# SQLSTATE classes of a server that is not there for anybody: connection, resources, operator intervention.
AWAY_CLASSES = ("08", "53", "57")
CANCELLED = "57014"

_outages: ContextVar[list[str] | None] = ContextVar("outages", default=None)


class OutageResponses:
    """An ASGI application in front of another, whose refusals it does not believe after an outage."""

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

        # Threads that work for this request have a copy of the context, and so the same list.
        token = _outages.set(outages)
        try:
            await self._app(scope, receive, answer)
        finally:
            _outages.reset(token)


def note(error: BaseException) -> None:
    """Remember for the request that is being answered that the database failed it."""
    outages = _outages.get()
    if outages is not None:
        outages.append(type(error).__name__)


def note_error(context: ExceptionContext) -> None:
    """Note an error of the database that is an outage; a connection that is tested and made anew is none."""
    if not context.is_pre_ping and (context.is_disconnect or is_away(context)):
        note(context.original_exception)


def is_away(context: ExceptionContext) -> bool:
    """Whether an error is the server's or the network's, and not the statement's."""
    if isinstance(context.original_exception, OSError):
        return True
    kind = type(context.sqlalchemy_exception).__name__
    code = find_code(context.original_exception)
    if code is None:
        return kind in ("OperationalError", "InterfaceError")
    return code[:2] in AWAY_CLASSES and code != CANCELLED


def find_code(error: BaseException) -> str | None:
    """The SQLSTATE of a driver's error; None when the server said none."""
    code = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
    return None if code is None else str(code)
