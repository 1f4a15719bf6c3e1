"""Where requests of tasks arrive: in front of the API that tasks report to."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from airfleet_provider.breakers.messages import PREFIX, decode, encode_answer
from airfleet_provider.breakers.reports import Reports
from airfleet_provider.contract.breaker_rules import BreakerRule
from airfleet_provider.contract.service_limits import ServiceLimit

log = logging.getLogger("airfleet")

T = TypeVar("T")
R = TypeVar("R")

VARIABLE = re.compile(rf"/execution/variables/{re.escape(PREFIX)}([0-9a-f]{{2,8000}})")
CONNECTION = re.compile(r"/execution/connections/([^/]+)")
# A read of a connection waits no longer than this for its note.
NOTE_S = 2.0
# A request waits no longer than this for its answer, and nor does the task, which asks again then.
ANSWER_S = 5.0
# No more requests wait for the thread, and no more than one of each task instance. A task asks one thing at a time.
MOST_PENDING = 1000
# Returns the id of the task instance of a valid token; raises for any other.
ReadToken = Callable[[str], Awaitable[str]]


class GateBusyError(RuntimeError):
    """Too many requests wait already, or one of the same task instance does."""


class BreakerRequests:
    """An ASGI application in front of another: answers requests about breakers, and notes who reads connections."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        rules: Mapping[str, BreakerRule],
        connect: Callable[[], Any],
        read_token: ReadToken,
        limits: Mapping[str, ServiceLimit] | None = None,
    ) -> None:
        self._app = app
        self._read_token = read_token
        self._reports = Reports(rules, connect, limits=limits or {})
        self._services = self._reports.services
        # One thread, as they all lock the same few rows.
        self._thread = ThreadPoolExecutor(1, "breakers")
        # The task instances whose requests wait for the thread, or are in it.
        self._pending: set[str] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI has no types
        """Answer the request, or pass it on."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
        elif found := VARIABLE.fullmatch(scope["path"]):
            await self._answer(scope, found[1], receive, send)
        elif (found := CONNECTION.fullmatch(scope["path"])) and self._is_watched(found[1]):
            await self._note_reader(scope, found[1])
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_watched(self, connection: str) -> bool:
        return any(rule.uses((connection,)) for rule in self._services.values())

    async def _answer(self, scope: Any, name: str, receive: Any, send: Any) -> None:  # noqa: ANN401
        try:
            instance = await self._read_token(read_bearer(scope))
            request = decode(name)
        except Exception as error:
            log.info("A request about a breaker was refused: %s", type(error).__name__)
            await self._app(scope, receive, send)  # Airflow refuses the token, or knows no such variable
            return
        try:
            answer = await self._run(ANSWER_S, instance, self._reports.answer, request)
        except (GateBusyError, TimeoutError):
            await _send(send, 503, {"detail": "too many requests about breakers; ask again"})
            return
        await _send(send, 200, {"key": PREFIX + name, "value": encode_answer(answer)})

    async def _note_reader(self, scope: Any, connection: str) -> None:  # noqa: ANN401
        try:
            instance = await self._read_token(read_bearer(scope))
            await self._run(NOTE_S, instance, self._reports.add_user, connection)
        except Exception as error:
            # The read of the connection matters more than the note.
            log.info("The reader of a connection was not noted: %s", type(error).__name__)

    async def _run(self, limit_s: float, instance: str, work: Callable[[str, T], R], what: T) -> R:
        """Return what `work` returns for a task instance. It runs in the thread, after those that came before.

        Raises:
            GateBusyError: It is not run.
            TimeoutError: It is not over after `limit_s` seconds. If it has not begun, it is not run.
            Exception: As `work` does.
        """
        if instance in self._pending or len(self._pending) >= MOST_PENDING:
            raise GateBusyError
        self._pending.add(instance)
        future = self._thread.submit(work, instance, what)
        future.add_done_callback(lambda _: self._pending.discard(instance))
        return await asyncio.wait_for(asyncio.wrap_future(future), limit_s)


async def _send(send: Any, status: int, content: Mapping[str, str]) -> None:  # noqa: ANN401
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def read_bearer(scope: Any) -> str:  # noqa: ANN401 - ASGI has no types
    """Return the bearer token of a request, or an empty text."""
    value = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    kind, _, token = value.partition(" ")
    return token if kind.lower() == "bearer" else ""
