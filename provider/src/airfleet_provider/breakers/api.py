"""Where requests of tasks arrive: in front of the API that tasks report to."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airfleet_provider.breakers.messages import PREFIX, decode, encode_answer
from airfleet_provider.breakers.reports import Reports
from airfleet_provider.contract.breaker_rules import BreakerRule

log = logging.getLogger("airfleet")

VARIABLE = re.compile(rf"/execution/variables/{re.escape(PREFIX)}([0-9a-f]{{2,8000}})")
CONNECTION = re.compile(r"/execution/connections/([^/]+)")
# Returns the id of the task instance of a valid token; raises for any other.
ReadToken = Callable[[str], Awaitable[str]]


class BreakerRequests:
    """An ASGI application in front of another: answers requests about breakers, and notes who reads connections."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        rules: Mapping[str, BreakerRule],
        connect: Callable[[], Any],
        read_token: ReadToken,
    ) -> None:
        self._app = app
        self._rules = rules
        self._read_token = read_token
        self._reports = Reports(rules, connect)
        # One thread, as they all lock the same few rows.
        self._thread = ThreadPoolExecutor(1, "breakers")

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
        return any(rule.uses((connection,)) for rule in self._rules.values())

    async def _answer(self, scope: Any, name: str, receive: Any, send: Any) -> None:  # noqa: ANN401
        try:
            instance = await self._read_token(read_bearer(scope))
            request = decode(name)
        except Exception as error:
            log.info("A request about a breaker was refused: %s", type(error).__name__)
            await self._app(scope, receive, send)  # Airflow refuses the token, or knows no such variable
            return
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._thread, self._reports.answer, instance, request)
        body = json.dumps({"key": PREFIX + name, "value": encode_answer(answer)}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _note_reader(self, scope: Any, connection: str) -> None:  # noqa: ANN401
        try:
            instance = await self._read_token(read_bearer(scope))
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._reports.add_user, instance, connection)
        except Exception as error:
            # The read of the connection matters more than the note.
            log.info("The reader of a connection was not noted: %s", type(error).__name__)


def read_bearer(scope: Any) -> str:  # noqa: ANN401 - ASGI has no types
    """Return the bearer token of a request, or an empty text."""
    value = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    kind, _, token = value.partition(" ")
    return token if kind.lower() == "bearer" else ""
