"""Airflow's FAB auth manager, with tokens that end when the password of their user changes."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from airflow.providers.fab.auth_manager import fab_auth_manager

# The claim that ties a token to the password its user had when the token was made.
CLAIM = "airfleet_password"


def fingerprint(password_hash: str | None) -> str:
    """Return a digest of the password's salted hash: it changes with the password and reveals nothing about it."""
    return hashlib.sha256(f"airfleet {password_hash or ''}".encode()).hexdigest()[:16]


def is_current(token: dict[str, Any], password_hash: str | None) -> bool:
    """Return whether a token was made for the user's current password."""
    return hmac.compare_digest(str(token.get(CLAIM, "")).encode(), fingerprint(password_hash).encode())


class FabAuthManager(fab_auth_manager.FabAuthManager):  # type: ignore[misc]  # Airflow has no types
    """Refuses a token that was made before its user's password changed.

    Airflow caches users for `[fab] cache_ttl` (30 s), so an api-server may accept the earlier token for that long.
    """

    def serialize_user(self, user: Any) -> dict[str, Any]:  # noqa: ANN401 - FAB's user has no types
        return {**super().serialize_user(user), CLAIM: fingerprint(user.password)}

    def deserialize_user(self, token: dict[str, Any]) -> Any:  # noqa: ANN401
        user = super().deserialize_user(token)
        if not is_current(token, user.password):
            # The cached user may be older than the token: read the user again.
            self.cache.pop(int(token["sub"]), None)
            user = super().deserialize_user(token)
        if not is_current(token, user.password):
            raise ValueError("the password was changed after this token was made")
        return user
