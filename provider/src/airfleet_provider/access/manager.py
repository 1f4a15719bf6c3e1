"""Airflow's FAB auth manager, with two rules of airfleet's.

A token ends when the password of its user changes. And the cookies of the sign-in page are signed with a key that no
worker has. FAB signs them with [api] secret_key, which every worker host has, because it signs the requests for logs
too. FAB's library takes a cookie with the id of a user and a signature for a login, so a task could sign in as anybody.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from airflow.exceptions import AirflowConfigException
from airflow.providers.fab.auth_manager import fab_auth_manager

from airfleet_provider.compat.calls import config

# The claim that ties a token to the password its user had when the token was made.
CLAIM = "airfleet_password"


def fingerprint(password_hash: str | None) -> str:
    """Return a digest of the password's salted hash: it changes with the password and reveals nothing about it."""
    return hashlib.sha256(f"airfleet {password_hash or ''}".encode()).hexdigest()[:16]


def is_current(token: dict[str, Any], password_hash: str | None) -> bool:
    """Return whether a token was made for the user's current password."""
    return hmac.compare_digest(str(token.get(CLAIM, "")).encode(), fingerprint(password_hash).encode())


def derive_cookie_key(jwt_secret: str) -> str:
    """Return the key for the cookies of the sign-in page: the same on all web hosts, and not known to a worker.

    Raises:
        AirflowConfigException: there is no secret to derive it from.
    """
    if not jwt_secret:
        raise AirflowConfigException("[api_auth] jwt_secret is not set, and the cookies of the sign-in page need it")
    return hmac.new(jwt_secret.encode(), b"airfleet cookies of the sign-in page", hashlib.sha256).hexdigest()


class FabAuthManager(fab_auth_manager.FabAuthManager):  # type: ignore[misc]  # Airflow has no types
    """Refuses a token that was made before its user's password changed, and a cookie that a worker could have signed.

    Airflow caches users for `[fab] cache_ttl` (30 s), so an api-server may accept the earlier token for that long.
    """

    def get_fastapi_app(self) -> Any:  # noqa: ANN401 - a FastAPI application
        """Return FAB's application, whose sign-in page signs with a key of its own.

        Raises:
            AirflowConfigException: there is no secret to derive the key from.
            RuntimeError: FAB has no sign-in page where airfleet looks for it.
        """
        from starlette.middleware.wsgi import WSGIMiddleware  # noqa: PLC0415 - only an api-server has the page
        from starlette.routing import Mount  # noqa: PLC0415

        found = super().get_fastapi_app()
        key = derive_cookie_key(config.read_setting("api_auth", "jwt_secret"))
        mounted = [route.app for route in found.routes if isinstance(route, Mount)]
        pages: list[Any] = [one.app for one in mounted if isinstance(one, WSGIMiddleware)]
        if not pages:
            raise RuntimeError(
                "FAB's sign-in page is not where airfleet looks for it, and tasks could forge its cookies"
            )
        for page in pages:
            page.secret_key = key
        return found

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
