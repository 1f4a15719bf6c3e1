"""In front of an application: records each request that changes something, or that reads a secret (ADR 57).

A change is recorded twice. Before the request reaches the application, an intent is committed: if the database is away,
the request is refused, and nothing was changed. When the application has answered, the outcome takes the place of the
intent. If the process is killed in between, the intent stays, and the agents record the outcome as unknown.

A read of a secret is recorded once, before the client gets the answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from airfleet_provider.audit import current_user, login_limits, statements
from airfleet_provider.audit.login_limits import LimitedLoginError
from airfleet_provider.audit.recorder import Recorder, RecorderBusyError
from airfleet_provider.audit.requests import REFUSED, AuditRules, RequestKind
from airfleet_provider.contract.audit_log import AuditEntry, AuditOutcome

log = logging.getLogger("airfleet")

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
# Returns the id of the user or the task instance whom a valid token names, or an empty text.
ReadSubject = Callable[[Scope], Awaitable[str]]

# No request waits longer than this for its intent; its outcome is recorded later if need be.
INTENT_S = 10.0
OUTCOME_S = 2.0
# So much of a body is kept, to find the name that somebody logs in with, or that of a new object.
KEPT_BYTES = 16_384
OK = 200
AWAY = b'{"detail":"the audit log could not be written, so nothing was changed; try again"}'
# Neither requests without a login nor a task may fill the database: so many of an address or a task within a minute.
UNKNOWN_AT_MOST, OF_A_TASK_AT_MOST, WITHIN_S = 60, 600, 60.0
# A user with a login costs rows with changes, which cost more than their rows, and with tries that change nothing: so
# many that the rights refuse, and so many that fail for another reason, within a minute. Then the user waits.
REFUSED_AT_MOST, FAILED_AT_MOST = 60, 300
# Each costs a row of Airflow's sessions. An office behind one address may begin its day with as many.
DEPARTURES_AT_MOST = 120
# A task instance that reads a secret again has one row for it, until this many others were read.
MOST_RECENT = 10_000
MOST_ADDRESSES = 10_000
TOO_MANY_FAILURES = b'{"detail":"Too many failed logins; try again later"}'
TOO_MANY = b'{"detail":"too many requests; try again in a minute"}'


@dataclass(slots=True)
class _Request:
    """What is known of a request while it is answered."""

    kind: RequestKind
    path: str
    entry: AuditEntry
    subject: str
    names: list[str]
    target: statements.ChangedRow | None
    digest: hmac.HMAC
    status: int = 0
    is_ended: bool = False
    start: bytes = b""

    def feed(self, piece: bytes) -> None:
        self.digest.update(piece)
        if len(self.start) < KEPT_BYTES:
            self.start += piece[: KEPT_BYTES - len(self.start)]


class Audit:
    """An ASGI application in front of another."""

    def __init__(
        self,
        app: App,
        rules: AuditRules,
        recorder: Recorder,
        read_subject: ReadSubject,
        *,
        key: bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use `key` for hashes of bodies: without a key, who reads the log could guess passwords that were sent."""
        self._app = app
        self._key = key
        self._allowance = Allowance(clock)
        self._recent = Recent()
        self._rules = rules
        self._recorder = recorder
        self._read_subject = read_subject

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = find_path(scope)
        kind = self._rules.classify(scope["method"], path)
        if kind is RequestKind.READING:
            await self._app(scope, receive, send)
            return
        if kind is RequestKind.GUARDED:
            await self._watch(scope, path, receive, send)
            return
        if kind is RequestKind.DEPARTURE:
            if self._allowance.take(f"departure {login_limits.find_network(find_address(scope))}", DEPARTURES_AT_MOST):
                await self._app(scope, receive, send)
            else:
                await refuse(send, 429, TOO_MANY)
            return
        if kind is RequestKind.LOGIN:
            # The limits need the name, which is in the body.
            receive = await read_ahead(receive)
        request = await self._open(scope, path, kind, receive)
        if self._recent.holds(request):
            # It costs no row, so it counts for nothing, unless a list refuses the secret by now.
            await self._watch(scope, path, receive, send)
            return
        if not self._is_allowed(request):
            await refuse(send, 429, TOO_MANY)
            return
        try:
            if kind is not RequestKind.SECRET and not await self._begin(request):
                await refuse(send)
                return
        except LimitedLoginError as error:
            await refuse(send, 429, TOO_MANY_FAILURES, wait_s=error.wait_s)
            return
        await self._pass_on(request, scope, receive, send)

    async def _open(self, scope: Scope, path: str, kind: RequestKind, receive: Receive) -> _Request:
        name = ""
        if isinstance(receive, Ahead):
            kinds = [value for key, value in scope["headers"] if key.lower() == b"content-type"]
            name = self._rules.find_name(path, receive.body, kinds)
        subject = "" if kind is RequestKind.LOGIN else await self._read_subject(scope)
        entry = AuditEntry(
            id=str(uuid.uuid4()),
            source=self._rules.source,
            actor=name,
            action=f"{scope['method']} {path}",
            outcome=AuditOutcome.BEGUN,
            address=find_address(scope),
        )
        digest = hmac.new(self._key, digestmod=hashlib.sha256)
        target = self._rules.find_target(scope["method"], path)
        return _Request(kind, path, entry, subject, current_user.collect(), target, digest)

    async def _watch(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        """Pass a request on, and record it before the client gets the answer if it is refused."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and int(message["status"]) in REFUSED:
                request = await self._open(scope, path, RequestKind.GUARDED, receive)
                request.status = int(message["status"])
                if self._is_allowed(request):
                    await self._end(request)
            await send(message)

        await self._app(scope, receive, answer)

    def _is_allowed(self, request: _Request) -> bool:
        """Return whether a request may cost a row. A user with a login may, but not after many tries in vain."""
        if not request.subject:
            return self._allowance.take(login_limits.find_network(request.entry.address), UNKNOWN_AT_MOST)
        if self._rules.are_tasks:
            return self._allowance.take(request.subject, OF_A_TASK_AT_MOST)
        tries = ((f"refused {request.subject}", REFUSED_AT_MOST), (f"failed {request.subject}", FAILED_AT_MOST))
        return not any(self._allowance.is_used_up(who, most) for who, most in tries)

    def _count_try(self, request: _Request, outcome: AuditOutcome) -> bool:
        """Count a try of a user that changed nothing, and return whether it is the last one that gets a row."""
        if self._rules.are_tasks or not request.subject or not 400 <= request.status < 500:
            return False
        who, most = ("refused", REFUSED_AT_MOST) if outcome is AuditOutcome.REFUSED else ("failed", FAILED_AT_MOST)
        self._allowance.take(f"{who} {request.subject}", most)
        return self._allowance.is_used_up(f"{who} {request.subject}", most)

    async def _begin(self, request: _Request) -> bool:
        """Record the intent, and return whether it is committed.

        Raises:
            LimitedLoginError: The login must not be tried.
        """
        work: Callable[[Any], Any]
        if request.kind is RequestKind.LOGIN:
            work = login_limits.begin(request.entry)
        elif self._rules.are_tasks and request.subject:
            work = statements.begin_task(request.entry, request.subject)
        else:
            work = statements.begin(request.entry, request.target, request.subject)
        future: Future[Any] | None = None
        try:
            future = self._recorder.submit(work)
            begun = await asyncio.wait_for(asyncio.wrap_future(future), INTENT_S)
        except (Exception, RecorderBusyError) as error:
            log.warning("%s was refused, as the audit log is away: %s", request.entry.action, type(error).__name__)
            if future is not None and isinstance(error, TimeoutError) and not future.cancel():
                # It is being written at this moment. Without its end it would become a row of an unknown outcome.
                withdraw = login_limits.withdraw if request.kind is RequestKind.LOGIN else statements.withdraw
                self._recorder.submit(withdraw(request.entry), is_kept=True)
            return False
        if isinstance(begun, LimitedLoginError):
            raise begun
        request.entry = begun
        return True

    async def _pass_on(self, request: _Request, scope: Scope, receive: Receive, send: Send) -> None:
        is_refused = False

        async def take() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                request.feed(message.get("body", b""))
            return message

        async def answer(message: Message) -> None:
            nonlocal is_refused
            if message["type"] == "http.response.start":
                request.status = int(message["status"])
                if not await self._end(request) and request.kind is RequestKind.SECRET:
                    is_refused = True
                    await refuse(send)
            if not is_refused:
                await send(message)

        try:
            await self._app(scope, take, answer)
        finally:
            if not request.is_ended:
                # The application failed, or the server gave the request up, without an answer.
                request.status = request.status or 500
                self._submit_end(request)

    async def _end(self, request: _Request) -> bool:
        """Record the outcome, and return whether it is committed. Else it will be, unless this process is killed."""
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._submit_end(request))), OUTCOME_S)
            if request.kind is RequestKind.SECRET and request.subject and request.status == OK:
                self._recent.add(request)
        except (Exception, RecorderBusyError) as error:
            log.warning("The outcome of %s is not recorded yet: %s", request.entry.action, type(error).__name__)
            return False
        return True

    def _submit_end(self, request: _Request) -> Future[Any]:
        request.is_ended = True
        actor = (request.names[-1] if request.names else "") or request.entry.actor
        outcome = self._rules.judge(request.path, request.status, is_known=bool(request.names))
        is_last = self._count_try(request, outcome)
        entry = replace(
            request.entry,
            actor=actor,
            status=request.status,
            outcome=outcome,
            detail={**request.entry.detail, **({"limit": "user"} if is_last else {})},
            body=request.digest.hexdigest() if request.start and request.kind is not RequestKind.LOGIN else "",
        )
        if request.kind in (RequestKind.SECRET, RequestKind.GUARDED):
            return self._recorder.submit(statements.record_task(entry, request.subject))
        if request.kind is RequestKind.LOGIN:
            return self._recorder.submit(login_limits.settle(entry), is_kept=True)
        target = request.target or self._rules.find_new(entry.action, request.start)
        return self._recorder.submit(statements.settle(entry, target), is_kept=True)


def find_address(scope: Scope) -> str:
    """Return the address from which a request comes."""
    return str((scope.get("client") or ("",))[0])


def find_path(scope: Scope) -> str:
    """Return the path of a request below that of the application."""
    path, root = str(scope["path"]), str(scope.get("root_path") or "")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


class Ahead:
    """A `receive` whose first messages were received already. `body` is empty unless they hold all of it."""

    def __init__(self, receive: Receive, messages: list[Message]) -> None:
        # The first part of a long body could name another user than the whole.
        is_whole = not messages[-1].get("more_body")
        self.body = b"".join(one.get("body", b"") for one in messages) if is_whole else b""
        self._receive = receive
        self._messages = deque(messages)

    async def __call__(self) -> Message:
        return self._messages.popleft() if self._messages else await self._receive()


async def read_ahead(receive: Receive) -> Ahead:
    """Receive the body of a login, or as much of a long body as is kept of any."""
    messages: list[Message] = []
    size = 0
    while size < KEPT_BYTES:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    return Ahead(receive, messages)


async def refuse(send: Send, status: int = 503, body: bytes = AWAY, *, wait_s: int = int(WITHIN_S)) -> None:
    """Answer in place of the application, with 503 if the audit log is away."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"5" if status == 503 else str(wait_s).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Allowance:
    """How many requests each address, or each task, has sent in the present minute of this process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._counts: Counter[str] = Counter()

    def take(self, who: str, most: int) -> bool:
        """Count a request, and return whether it may go on."""
        self._turn()
        self._counts[who] += 1
        return self._counts[who] <= most

    def is_used_up(self, who: str, most: int) -> bool:
        """Return whether no other request may go on. It counts none."""
        self._turn()
        return self._counts[who] >= most

    def _turn(self) -> None:
        if self._clock() - self._began > WITHIN_S or len(self._counts) > MOST_ADDRESSES:
            self._began = self._clock()
            self._counts.clear()


class Recent:
    """The secrets that task instances have read lately, each with its row."""

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[str, str], None] = OrderedDict()

    def holds(self, request: _Request) -> bool:
        """Return whether this task instance has a row for this secret already."""
        return request.kind is RequestKind.SECRET and (request.subject, request.path) in self._keys

    def add(self, request: _Request) -> None:
        """Note that the row is committed."""
        self._keys[request.subject, request.path] = None
        if len(self._keys) > MOST_RECENT:
            self._keys.popitem(last=False)
