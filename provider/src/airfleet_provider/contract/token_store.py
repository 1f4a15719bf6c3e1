"""The statements about tokens of service accounts, for any driver: the caller gives what executes one (ADR 87)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, LiteralString

from airfleet_provider.contract.access_store import ReadRows
from airfleet_provider.contract.access_token import KeptToken, TokenState
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "token_store")

ExecuteWith = Callable[[LiteralString, Mapping[str, Any]], Any]


def read_tokens(query: ReadRows, *, also_old: bool = False) -> list[KeptToken]:
    """Return the tokens by name; those that were revoked long ago only with `also_old`."""
    return [
        KeptToken(
            id=row["id"],
            name=row["name"],
            user=int(row["user_id"]),
            hash=row["hash"],
            state=TokenState(row["state"]),
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            used_at=row["used_at"],
        )
        for row in query(SQL["list"], {"all": also_old})
    ]


def add(execute: ExecuteWith, *, token_id: str, name: str, hashed: str, seconds: int) -> None:
    """Keep the token of a user who exists; it ends after so many seconds."""
    execute(SQL["add"], {"id": token_id, "name": name, "hash": hashed, "seconds": seconds})


def revoke(execute: ExecuteWith, name: str) -> None:
    """End the token of a name, if one has not ended."""
    execute(SQL["revoke"], {"name": name})


def note_use(execute: ExecuteWith, token_id: str) -> None:
    """Write that a token was used, if that was not written lately."""
    execute(SQL["use"], {"id": token_id})
