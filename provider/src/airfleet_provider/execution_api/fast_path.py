"""The execution API with a fast path for the calls of every task; Airflow's own code answers all others."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, LiteralString

from airfleet_provider.contract import fallbacks
from airfleet_provider.contract.fallbacks import Counter
from airfleet_provider.contract.statements import Statements
from airfleet_provider.execution_api.routes import CallRoute, find_call

SQL = Statements(__package__, "queries")

log = logging.getLogger("airfleet")

# The scopes of tokens that may make a call; calls that are not listed need the scope of a running task.
RUNNING = frozenset({"execution"})
SCOPES = {"run": frozenset({"execution", "workload"})}
# Airflow renews a token in the last share of its lifetime, so calls with such tokens go to Airflow.
RENEWED_SHARE, RENEWED_S = 0.2, 30
CONNECTIONS = 8
JSON = b"application/json"
# Seconds between two writes of the counts to their files.
FLUSH_S = 1.0


class UnusualError(Exception):
    """Airflow must answer this call by design; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Response:
    """The response to a call."""

    status: int
    body: bytes = b""
    token: str = ""


class Rows:
    """Runs statements, each as a transaction, on one connection per thread."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._own = threading.local()

    def ask(self, sql: LiteralString, words: Mapping[str, Any]) -> dict[str, Any] | None:
        """Run a statement and return its first row, or None. After an error the next call opens a new connection."""
        connection = getattr(self._own, "connection", None)
        try:
            if connection is None:
                connection = self._own.connection = self._connect()
            row: dict[str, Any] | None = connection.execute(sql, words).fetchone()
            return row
        except Exception:
            self._own.connection = None
            if connection is not None:
                connection.close()
            raise


@dataclass(slots=True)
class FastPath:
    """An ASGI application in front of Airflow's, which answers the most frequent calls of tasks itself."""

    app: Callable[..., Awaitable[None]]
    models: Any
    ask: Callable[[LiteralString, Mapping[str, Any]], dict[str, Any] | None]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(CONNECTIONS, "shortcut"))
    counter: Counter = field(default_factory=lambda: Counter(fallbacks.EXECUTION_API, None))
    flush: Any = None
    # Whether a task instance may make a call; it is called in a thread.
    allows: Callable[[CallRoute, str], bool] = lambda *_: True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI has no types
        """Answer the request, or pass it to Airflow."""
        is_call = scope["type"] == "http"
        call = find_call(scope["method"], scope["path"], scope["query_string"].decode("latin-1")) if is_call else None
        if call is None:
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        body, ahead = await read_body(receive)
        headers = dict(scope["headers"])
        answer = None if body is None else await self.answer(call, headers, body)
        if answer is None:
            self._flush_later()
            await self.app(scope, replay(ahead, receive), send)
            return
        self.counter.took_fast()
        self._flush_later()
        await respond(send, answer, headers.get(b"correlation-id"), self.models.version)
        log.info("%s %s: %d, %.1f ms", call.name, call.about, answer.status, 1000 * (time.monotonic() - began))

    async def answer(self, call: CallRoute, headers: Mapping[bytes, bytes], body: bytes) -> Response | None:
        """Return the response to an ordinary call; count any other call, and return None so that Airflow answers it."""
        try:
            return await self._answer(call, headers, body)
        except UnusualError as reason:
            self.counter.fell_back(f"{call.name}: {reason}", expected=True)
        except Exception as error:
            self.counter.fell_back(f"{call.name}: {describe(error)}")
        return None

    async def _answer(self, call: CallRoute, headers: Mapping[bytes, bytes], body: bytes) -> Response:
        kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() != "bearer":
            raise UnusualError("the call has no token")
        if headers.get(b"airflow-api-version", b"").decode("latin-1") != self.models.version:
            raise UnusualError("the client speaks another version of the API")
        if body and not headers.get(b"content-type", b"").startswith(JSON):
            raise UnusualError("the body is not JSON")
        try:
            subject, claims = await self.models.read_claims(token)
        except Exception as error:
            raise UnusualError("the token is not valid") from error
        scope = claims["scope"]
        if call.instance not in ("", subject) or scope not in SCOPES.get(call.name, RUNNING):
            raise UnusualError("the token is for another task or another scope")
        if scope == "execution" and is_to_be_renewed(claims, self.now().timestamp()):
            raise UnusualError("the token is due for renewal")
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self.threads, self._run, call, subject, scope, body)
        if answer is None:
            raise UnusualError("the task instance or value needs Airflow's own code")
        return answer

    def _run(self, call: CallRoute, subject: str, scope: str, body: bytes) -> Response | None:
        if not self.allows(call, subject):
            raise UnusualError("a list of fleet.yaml refuses these XComs")
        answer: Response | None = getattr(self, call.name)(call, scope, body)
        return answer

    def _flush_later(self) -> None:
        """Schedule a write of the counts, because no later call may come to write them."""
        if self.flush is None and self.counter.is_left:
            self.flush = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self.flush = None
        self.counter.flush()

    def run(self, call: CallRoute, scope: str, body: bytes) -> Response | None:
        """Start a queued task instance that is not resumed from a deferral."""
        start = self.models.read_start(body)
        extra = json.dumps({"host_name": start["hostname"]}) if start["hostname"] else None
        row = self.ask(SQL["start"], {**call.words, **start, "now": self.now(), "extra": extra})
        if row is None:
            return None
        token = self.models.sign(call.instance) if scope == "workload" else ""
        return Response(200, self.models.write_context(row), token)

    def state(self, call: CallRoute, _: str, body: bytes) -> Response | None:
        """End a running task instance with success and without asset events."""
        try:
            end = self.models.read_success(body)
        except ValueError as error:
            raise UnusualError("the task does not end with success") from error
        return self._succeed(call, end, None) if end else None

    def end(self, call: CallRoute, _: str, body: bytes) -> Response | None:
        """End a running task instance as `state` does, and store its rendered fields. Airflow has no such call.

        So its code answers 404 where the usual form is not met, and the supervisor makes the usual two calls.
        """
        fields, end = self.models.read_end(body)
        return self._succeed(call, end, fields) if end and fields else None

    def _succeed(self, call: CallRoute, end: Mapping[str, Any], fields: Mapping[str, Any] | None) -> Response | None:
        shown = {"fields": json.dumps(fields) if fields else None, "kept": self.models.kept_runs}
        return Response(204) if self.ask(SQL["succeed"], {**call.words, **end, **shown, "now": self.now()}) else None

    def heartbeat(self, call: CallRoute, _: str, body: bytes) -> Response | None:
        """Record the heartbeat of a task instance that runs on the recorded host with the recorded pid."""
        sign = self.models.read_heartbeat(body)
        return Response(204) if self.ask(SQL["heartbeat"], {**call.words, **sign, "now": self.now()}) else None

    def rtif(self, call: CallRoute, _: str, body: bytes) -> Response | None:
        """Store the rendered fields of a task instance."""
        fields = self.models.read_fields(body)
        words = {**call.words, "fields": json.dumps(fields), "kept": self.models.kept_runs}
        if not fields or not self.ask(SQL["show_fields"], words):
            return None
        return Response(201, b'{"message":"Rendered task instance fields successfully set"}')

    def pull(self, call: CallRoute, *_: object) -> Response | None:
        """Read one XCom value."""
        row = self.ask(SQL["pull"], call.words)
        if row is None:
            return None
        return Response(200, f'{{"key":{json.dumps(call.words["key"])},"value":{row["value"]}}}'.encode())

    def push(self, call: CallRoute, _: str, body: bytes) -> Response | None:
        """Store one XCom value, and replace an earlier value."""
        words = {**call.words, "value": json.dumps(json.loads(body)), "now": self.now()}
        return Response(201, b'{"message":"XCom successfully set"}') if self.ask(SQL["push"], words) else None


def describe(error: Exception) -> str:
    """Return an error's class and first line; the further lines of PostgreSQL contain the values of one call."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


class Bypass:
    """An ASGI application that counts the calls that the fast path would answer if it supported this Airflow."""

    def __init__(self, app: Callable[..., Awaitable[None]], counter: Counter, reason: str) -> None:
        self.app, self.counter, self.reason = app, counter, reason

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI has no types
        """Pass the request to Airflow."""
        is_http = scope["type"] == "http"
        if is_http and find_call(scope["method"], scope["path"], scope["query_string"].decode("latin-1")):
            self.counter.fell_back(self.reason)
        await self.app(scope, receive, send)


def is_to_be_renewed(claims: Mapping[str, Any], now: float) -> bool:
    """Return whether Airflow would send a new token with its answer."""
    expires, issued = int(claims["exp"]), int(claims["iat"])
    return expires - int(now) <= max(int((expires - issued) * RENEWED_SHARE), RENEWED_S)


async def read_body(receive: Any) -> tuple[bytes | None, list[Any]]:  # noqa: ANN401 - ASGI has no types
    """Return the whole body, or None if the client left before its end, and the received messages for `replay`."""
    ahead: list[Any] = []
    while True:
        message = await receive()
        ahead.append(message)
        if message["type"] != "http.request":
            return None, ahead
        if not message.get("more_body"):
            return b"".join(one.get("body", b"") for one in ahead), ahead


def replay(ahead: list[Any], receive: Any) -> Callable[[], Awaitable[Any]]:  # noqa: ANN401 - ASGI has no types
    """Return a `receive` that first repeats the messages that were received already."""
    pending = iter(ahead)

    async def again() -> Any:  # noqa: ANN401
        for message in pending:
            return message
        return await receive()

    return again


async def respond(send: Any, answer: Response, correlation: bytes | None, version: str) -> None:  # noqa: ANN401
    """Send a response with the headers that Airflow's would have."""
    headers = [(b"airflow-api-version", version.encode()), (b"content-type", JSON)]
    if answer.body:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    if answer.token:
        headers.append((b"refreshed-api-token", answer.token.encode()))
    if correlation:
        headers.append((b"correlation-id", correlation))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
