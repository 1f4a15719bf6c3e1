"""In front of the audit log: refuses tokens of service accounts that are not valid, and records their use (ADR 87).

A token that nobody made counts as a failed login of its address. One that has ended does not: it was no guess, and a
script that runs on must not lock out the people behind the same address.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from airfleet_provider.audit import login_limits
from airfleet_provider.audit.login_limits import LimitedLoginError
from airfleet_provider.audit.middleware import (
    AWAY,
    INTENT_S,
    TOO_MANY_FAILURES,
    App,
    Receive,
    Scope,
    Send,
    find_path,
    refuse,
)
from airfleet_provider.audit.recorder import Recorder, RecorderBusyError
from airfleet_provider.contract import access_token, audit_store, token_store
from airfleet_provider.contract.access_token import TokenCheck, TokenState
from airfleet_provider.contract.audit_log import AuditEntry, AuditOutcome, AuditSource

log = logging.getLogger("airfleet")

# A token that is used from one address has one row in so many seconds, for all requests that change nothing.
ROW_S = 3600.0
MOST_PLACES = 10_000
UNAUTHORIZED = 401
# The name under which wrong tokens count in the limits on logins. No user can have it.
WRONG = "a wrong token"
FindToken = Callable[[Scope], str]


class ServiceTokens:
    """An ASGI application in front of another, which lets requests without such a token through as they are."""

    def __init__(
        self,
        app: App,
        recorder: Recorder,
        find_token: FindToken,
        check: Callable[[str], TokenCheck],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use `check` in a thread: it may read from the database, and raises what the database raises."""
        self._app = app
        self._recorder = recorder
        self._find_token = find_token
        self._check = check
        self._clock = clock
        self._places: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = self._find_token(scope) if scope["type"] == "http" else ""
        if not access_token.is_token(token):
            await self._app(scope, receive, send)
            return
        try:
            found = await asyncio.to_thread(self._check, token)
        except Exception as error:
            log.warning("A token could not be checked: %s", type(error).__name__)
            await refuse(send, 503, AWAY)
            return
        if found.state is TokenState.VALID:
            self._note(found, scope)
            await self._app(scope, receive, send)
        elif found.state is TokenState.UNKNOWN:
            await self._count(scope, send)
        else:
            self._note(found, scope)
            await refuse(send, UNAUTHORIZED, _say(f"the token of {found.name} is {found.state}"))

    def _note(self, found: TokenCheck, scope: Scope) -> None:
        """Record the use of a token, or of one that has ended, from a new address or after an hour."""
        place = (found.id, found.state.value, _find_address(scope))
        now = self._clock()
        if now - self._places.get(place, now - ROW_S) < ROW_S:
            return
        self._places[place] = now
        self._places.move_to_end(place)
        if len(self._places) > MOST_PLACES:
            self._places.popitem(last=False)
        is_valid = found.state is TokenState.VALID
        entry = _make_entry(scope, found.name, f"use of the token {found.id}")
        entry = replace(
            entry,
            outcome=AuditOutcome.DONE if is_valid else AuditOutcome.REFUSED,
            status=0 if is_valid else UNAUTHORIZED,
            detail={} if is_valid else {"token": found.state.value},
        )

        def work(cursor: Any) -> None:  # noqa: ANN401 - psycopg2 has no types
            if is_valid:
                token_store.note_use(cursor.execute, found.id)
            audit_store.record(cursor.execute, entry)

        self._recorder.submit(work, is_kept=True)

    async def _count(self, scope: Scope, send: Send) -> None:
        """Refuse a token that nobody made, as a failed login is refused."""
        entry = _make_entry(scope, WRONG, f"{scope['method']} {find_path(scope)}")
        try:
            begun = await asyncio.wait_for(
                asyncio.wrap_future(self._recorder.submit(login_limits.begin(entry))), INTENT_S
            )
        except (Exception, RecorderBusyError) as error:
            log.warning("A wrong token could not be counted: %s", type(error).__name__)
            await refuse(send, 503, AWAY)
            return
        if isinstance(begun, LimitedLoginError):
            await refuse(send, 429, TOO_MANY_FAILURES, wait_s=begun.wait_s)
            return
        refused = replace(entry, outcome=AuditOutcome.REFUSED, status=UNAUTHORIZED)
        self._recorder.submit(login_limits.settle(refused), is_kept=True)
        await refuse(send, UNAUTHORIZED, _say("nobody made this token"))


def _find_address(scope: Scope) -> str:
    return str((scope.get("client") or ("",))[0])


def _make_entry(scope: Scope, actor: str, action: str) -> AuditEntry:
    return AuditEntry(
        id=str(uuid.uuid4()),
        source=AuditSource.API,
        actor=actor,
        action=action,
        outcome=AuditOutcome.BEGUN,
        address=_find_address(scope),
    )


def _say(what: str) -> bytes:
    return json.dumps({"detail": f"{what}; make another with `airfleet access tokens create`"}).encode()
