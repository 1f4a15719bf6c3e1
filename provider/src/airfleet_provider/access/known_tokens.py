"""The tokens of service accounts, as an api-server knows them (ADR 87)."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping, Sequence

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import access_token, token_store
from airfleet_provider.contract.access_token import KeptToken, TokenCheck, TokenState
from airfleet_provider.processes.cache import Cache

# A new token, and one that was revoked, are known after so many seconds.
KEPT_S = 3.0


class KnownTokens:
    """Reads all tokens from the database, at most once in KEPT_S seconds: a wrong token costs no query.

    Methods raise what the database raises: without an answer, no token is valid.
    """

    def __init__(self, read: Callable[[], Sequence[KeptToken]], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._cache = Cache(KEPT_S, clock, keeps_error=lambda _: True, ages_from_question=True)

    def check(self, token: str) -> TokenCheck:
        """Return what a token is worth, and whose it is. It is compared in constant time."""
        known: Mapping[str, KeptToken] = self._cache.get(None, lambda: {one.id: one for one in self._read()})
        found = known.get(access_token.find_id(token))
        if found is None or not hmac.compare_digest(found.hash, access_token.make_hash(token)):
            return TokenCheck(TokenState.UNKNOWN)
        return TokenCheck(found.state, found.id, found.name, found.user)


def open_tokens() -> KnownTokens:
    """Return the tokens of this Airflow's database."""

    def read() -> list[KeptToken]:
        with metadata_db.open_snapshot() as query:
            return token_store.read_tokens(query)

    return KnownTokens(read)
