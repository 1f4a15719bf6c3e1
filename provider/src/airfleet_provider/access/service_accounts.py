"""`airflow airfleet access-token`: makes and ends service accounts, each a user of Airflow with one token (ADR 87)."""

from __future__ import annotations

import argparse
import uuid
from typing import Any

from airfleet_provider.compat.calls import fab_access
from airfleet_provider.compat.calls.fab_access import FabAccess
from airfleet_provider.contract import access_store, audit_store, token_store
from airfleet_provider.contract.access_plan import AccessError, DesiredUser
from airfleet_provider.contract.access_token import NO_PASSWORD, KeptToken, TokenState
from airfleet_provider.contract.audit_log import AuditEntry, AuditOutcome, AuditSource


def run_command(arguments: argparse.Namespace) -> None:
    """Keep the hash of a token that somebody else has made, or end a token.

    Raises:
        SystemExit: Nothing was changed.
    """
    try:
        with fab_access.open_access() as access:
            if arguments.action == "revoke":
                revoke(access, arguments.name)
                return
            create(
                access,
                arguments.name,
                frozenset(arguments.role),
                token_id=arguments.id,
                hashed=arguments.hash,
                seconds=arguments.seconds,
            )
    except AccessError as error:
        raise SystemExit(f"airfleet: {error}") from None


def create(access: FabAccess, name: str, roles: frozenset[str], *, token_id: str, hashed: str, seconds: int) -> None:
    """Make a service account with a token, or give one whose token has ended another, in one transaction.

    Raises:
        AccessError: The name is that of a user, or of a token that is valid, or there is no such role.
    """
    with access.hold():
        present = access_store.read_present(access.query)
        tokens = [one for one in token_store.read_tokens(access.query, also_old=True) if one.name == name]
        if name in present.users and not tokens:
            raise AccessError(f"{name} is a user; choose another name for the service account")
        if any(one.state is TokenState.VALID for one in tokens):
            raise AccessError(f"{name} has a token already; `airfleet access tokens revoke {name}` ends it")
        if unknown := sorted(roles - present.roles.keys()):
            raise AccessError(f"there is no role {', '.join(unknown)}; known: {', '.join(sorted(present.roles))}")
        token_store.revoke(access.execute, name)
        access.write_user(DesiredUser(name, f"{name}@service.invalid", roles, "Service account"))
        access.write_password(name, NO_PASSWORD)
        token_store.add(access.execute, token_id=token_id, name=name, hashed=hashed, seconds=seconds)
        what = {"token": token_id, "roles": sorted(roles), "seconds": seconds}
        audit_store.record(access.execute, _describe(f"create token {name}", what))


def revoke(access: FabAccess, name: str) -> None:
    """End the token of a service account, and take all roles from it, in one transaction.

    Raises:
        AccessError: There is no such token.
    """
    with access.hold():
        ended = [one for one in token_store.read_tokens(access.query, also_old=True) if one.name == name]
        if not any(one.state is not TokenState.REVOKED for one in ended):
            raise AccessError(f"{name} has no token; `airfleet access tokens list` shows all")
        token_store.revoke(access.execute, name)
        access.end_user(name)
        audit_store.record(access.execute, _describe(f"revoke token {name}", {"token": _find_last(ended)}))


def _find_last(tokens: list[KeptToken]) -> str:
    return max(tokens, key=lambda one: one.created_at).id


def _describe(action: str, what: dict[str, Any]) -> AuditEntry:
    return AuditEntry(
        id=str(uuid.uuid4()),
        source=AuditSource.AIRFLEET,
        actor="airfleet access tokens",
        action=action,
        outcome=AuditOutcome.DONE,
        detail=what,
    )
