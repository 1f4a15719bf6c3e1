"""The tokens of service accounts: how one is made, and what of it is kept (ADR 87). No I/O."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

# Programs that look for secrets in texts know such tokens by their beginning.
PREFIX = "aft_"
_SHAPE = re.compile(r"aft_(?P<id>[0-9a-f]{12})_[A-Za-z0-9_-]{43}")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
# A user with this in place of the hash of a password has none: no password has this hash.
NO_PASSWORD = "!"  # noqa: S105 - says that there is none
ID_BYTES, SECRET_BYTES = 6, 32


class TokenState(StrEnum):
    """What a token is worth."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class KeptToken:
    """What the database knows of a token: never the token itself."""

    id: str
    name: str
    user: int
    hash: str
    state: TokenState
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """What became of a check: of an unknown token there is neither name nor user."""

    state: TokenState
    id: str = ""
    name: str = ""
    user: int = 0


def make_token(token_id: str, secret: str) -> str:
    """Return a token; `secret` is SECRET_BYTES random bytes as URL-safe Base64, and `token_id` ID_BYTES as hex."""
    return f"{PREFIX}{token_id}_{secret}"


def is_token(text: str) -> bool:
    """Return whether a text claims to be the token of a service account, and not one of Airflow's."""
    return text.startswith(PREFIX)


def find_id(token: str) -> str:
    """Return the public part of a token, or an empty text if it has not the form of one."""
    found = _SHAPE.fullmatch(token)
    return found["id"] if found else ""


def make_hash(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()
