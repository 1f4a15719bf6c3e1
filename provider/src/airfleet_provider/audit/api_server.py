"""The audit log in front of an api-server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import cookie_parser

from airfleet_provider.audit.middleware import App, Audit
from airfleet_provider.audit.recorder import Recorder
from airfleet_provider.audit.requests import AuditRules
from airfleet_provider.audit.service_tokens import ServiceTokens
from airfleet_provider.compat.calls import config, logins, metadata_db
from airfleet_provider.contract import access_token
from airfleet_provider.contract.access_token import TokenCheck, TokenState
from airfleet_provider.contract.audit_log import AuditSource, derive_body_key

# Airflow's name of the cookie with the token of the UI.
COOKIE = "_token"


def wrap(app: App, check_token: Callable[[str], TokenCheck]) -> ServiceTokens:
    """Return the application behind the audit log, and behind the check of tokens of service accounts.

    `check_token` may read from the database.
    """
    recorder = Recorder(lambda: metadata_db.connect("airfleet audit"))

    async def read_any_subject(scope: Any) -> str:  # noqa: ANN401 - ASGI has no types
        token = find_token(dict(scope["headers"]))
        if not access_token.is_token(token):
            return await read_subject(scope)
        found = await asyncio.to_thread(check_token, token)
        return str(found.user) if found.state is TokenState.VALID else ""

    audit = Audit(app, AuditRules(AuditSource.API), recorder, read_any_subject, key=read_key())
    return ServiceTokens(audit, recorder, lambda scope: find_token(dict(scope["headers"])), check_token)


def read_key() -> bytes:
    """Return the key for hashes of bodies: all web hosts have the same, and a worker has none."""
    return derive_body_key(config.read_setting("api_auth", "jwt_secret"))


async def read_subject(scope: Any) -> str:  # noqa: ANN401 - ASGI has no types
    """Return the id of the user who sends a request. As in Airflow, a token in a header goes before the cookie."""
    token = find_token(dict(scope["headers"]))
    return await logins.read_subject(token) if token else ""


def find_token(headers: dict[bytes, bytes]) -> str:
    """Return the token of a request, or an empty text."""
    kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    return cookie_parser(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE, "")
