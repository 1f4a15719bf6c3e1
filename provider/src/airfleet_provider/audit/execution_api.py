"""The audit log in front of the execution API: what tasks change beside their own run, and the secrets they read."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from airfleet_provider.audit.middleware import App, Audit
from airfleet_provider.audit.recorder import Recorder
from airfleet_provider.audit.requests import AuditRules
from airfleet_provider.compat.calls import config, metadata_db
from airfleet_provider.contract.audit_log import AuditSource, derive_body_key

# Returns the task instance and the claims of a valid token; raises for any other.
ReadClaims = Callable[[str], Awaitable[tuple[str, Mapping[str, Any]]]]


def wrap(app: App, read_claims: ReadClaims | None) -> Audit:
    """Return the application behind the audit log. Without `read_claims`, rows believe the token of a task.

    The application refuses a token that is not valid, and the row says so.
    """

    async def read_subject(scope: Any) -> str:  # noqa: ANN401 - ASGI has no types
        kind, _, token = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() != "bearer":
            return ""
        try:
            return str(uuid.UUID((await read_claims(token))[0] if read_claims else read_unverified(token)))
        except Exception:
            return ""

    recorder = Recorder(lambda: metadata_db.connect("airfleet audit"))
    key = derive_body_key(config.read_setting("api_auth", "jwt_secret"))
    return Audit(app, AuditRules(AuditSource.TASK, are_tasks=True), recorder, read_subject, key=key)


def read_unverified(token: str) -> str:
    """Return the subject of a token, whoever signed it.

    Raises:
        ValueError: It is no token.
        KeyError: It has no subject.
    """
    body = token.split(".")[1] if token.count(".") == 2 else ""
    return str(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["sub"])
