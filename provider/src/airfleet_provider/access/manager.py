"""Airflow's FAB auth manager, with five rules of airfleet's.

A token ends when the password of its user changes. FAB signs its cookies with a key that no worker has. Whoever
may read a Dag may read which plugins there are, as Airflow's UI shows the pages of plugins to nobody else. And roles
have rights on Dags by the rules of `access` in fleet.yaml (ADR 71). Service accounts log in with tokens of their own
(ADR 87). And somebody from a directory has a session as long as the directory confirms it (ADR 78).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.exceptions import AirflowConfigException
from airflow.providers.fab.auth_manager import fab_auth_manager
from airflow.providers.fab.www.security.permissions import RESOURCE_DAG
from jwt import InvalidTokenError

from airfleet_provider.access import dag_rights, directory_file, known_tokens, plugin_list
from airfleet_provider.access.directory_store import DirectoryStore
from airfleet_provider.access.known_tokens import KEPT_S
from airfleet_provider.access.known_users import KnownUsers
from airfleet_provider.audit import current_user
from airfleet_provider.compat.calls import config
from airfleet_provider.compat.patches.cookie_key import replace_cookie_key
from airfleet_provider.contract import access_token
from airfleet_provider.contract.access_rules import DagRight
from airfleet_provider.contract.access_token import TokenState
from airfleet_provider.processes.cache import Cache

# The claim that ties a token to the password its user had when the token was made.
CLAIM = "airfleet_password"
# What a rule must grant for a method on a Dag. No rule lets a role delete a Dag, with the history of all its runs.
RIGHTS = {"GET": DagRight.READ, "POST": DagRight.EDIT, "PUT": DagRight.EDIT}


def fingerprint(password_hash: str | None) -> str:
    """Return a digest of the password's salted hash: it changes with the password and reveals nothing about it."""
    return hashlib.sha256(f"airfleet {password_hash or ''}".encode()).hexdigest()[:16]


def is_current(token: dict[str, Any], password_hash: str | None) -> bool:
    """Return whether a token was made for the user's current password."""
    return hmac.compare_digest(str(token.get(CLAIM, "")).encode(), fingerprint(password_hash).encode())


def derive_cookie_key(jwt_secret: str) -> str:
    """Return the key for the cookies of FAB's applications: the same on all web hosts, and not known to a worker.

    Raises:
        AirflowConfigException: there is no secret to derive it from.
    """
    if not jwt_secret:
        raise AirflowConfigException("[api_auth] jwt_secret is not set, and the cookies of the sign-in page need it")
    return hmac.new(jwt_secret.encode(), b"airfleet cookies of the sign-in page", hashlib.sha256).hexdigest()


def note_user(response: Any) -> Any:  # noqa: ANN401 - a response of Flask
    """Tell the audit log who sends a request to FAB's pages, which know users by their sessions."""
    from flask_login import current_user as user  # noqa: PLC0415 - only FAB's applications have it

    current_user.note(str(getattr(user, "username", "") or ""))
    return response


def find_number(user: Any) -> int | None:  # noqa: ANN401 - as above
    """Return the number of a user. Somebody without a login has none."""
    return getattr(user, "id", None)


class FabAuthManager(fab_auth_manager.FabAuthManager):  # type: ignore[misc]  # Airflow has no types
    """Refuses a token that was made before its user's password changed, and a cookie that a worker could have signed.

    Airflow caches users for `[fab] cache_ttl` (30 s), so an api-server may accept the earlier token for that long.
    """

    known_rights = dag_rights.KnownRights(dag_rights.read_rights)
    known_tokens = known_tokens.open_tokens()
    # The users of service accounts by the ids of their tokens.
    accounts = Cache(KEPT_S)
    # Of a web host whose fleet.yaml names a directory or an OpenID provider.
    known_users: KnownUsers | None = None

    def get_fastapi_app(self) -> Any:  # noqa: ANN401 - a FastAPI application
        """Return FAB's application, whose sign-in page signs its cookies with a key of its own.

        So do the applications that Airflow makes later for Flask plugins.

        Raises:
            AirflowConfigException: there is no secret to derive the key from.
            UnfitAirflowError: FAB takes the key in another way.
        """
        replace_cookie_key(derive_cookie_key(config.read_setting("api_auth", "jwt_secret")))
        directory = directory_file.read_directory()
        app = super().get_fastapi_app()
        self.flask_app.after_request(note_user)
        if directory:
            # Few platforms have a directory, and its client takes time and memory to import.
            from airfleet_provider.access import directory_sweep  # noqa: PLC0415

            self.known_users = KnownUsers(directory, DirectoryStore(directory).read_known)
            directory_sweep.start(directory)
        return app

    def is_authorized_view(self, *, access_view: AccessView, user: Any, **more: Any) -> bool:  # noqa: ANN401
        """Return whether a user may see a part of the UI. FAB lets only the roles Op and Admin read plugins.

        Whoever may read a Dag may read the list of plugins. The errors of plugins stay as FAB has them.
        """
        if super().is_authorized_view(access_view=access_view, user=user, **more):
            return True
        is_list = access_view is AccessView.PLUGINS and plugin_list.IS_ASKED_FOR.get()
        return is_list and bool(self.is_authorized_dag(method="GET", user=user))

    def get_authorized_dag_ids(self, *, user: Any, method: Any = "GET", **more: Any) -> set[str]:  # noqa: ANN401
        """Return the Dags on which a user has a right, by Airflow's permissions or by a rule."""
        found = set(super().get_authorized_dag_ids(user=user, method=method, **more))
        if self.is_authorized_custom_view(method=method, resource_name=RESOURCE_DAG, user=user):
            return found  # all of them
        right = RIGHTS.get(method)
        return found | self.known_rights.list_dags(find_number(user), right) if right else found

    def _is_authorized_dag(self, method: Any, details: Any, user: Any) -> bool:  # noqa: ANN401
        """Return whether a user has a right on a Dag; Airflow checks what the user may do there apart from this."""
        if super()._is_authorized_dag(method=method, details=details, user=user):
            return True
        right = RIGHTS.get(method)
        return bool(right and details and details.id and self.known_rights.allows(find_number(user), details.id, right))

    def _is_authorized_list_dags(self, *, user: Any) -> bool:  # noqa: ANN401
        """Return whether a user may list Dags. Whoever has a rule may, even if it fits no Dag yet."""
        return bool(super()._is_authorized_list_dags(user=user)) or self.known_rights.has_rule(find_number(user))

    async def get_user_from_token(self, token: str) -> Any:  # noqa: ANN401 - as above
        """Return the user of one of Airflow's tokens, or of the token of a service account.

        Raises:
            InvalidTokenError: The token is not valid.
        """
        if not access_token.is_token(token):
            return await super().get_user_from_token(token)
        # In a thread, as it may read from the database.
        return await asyncio.to_thread(self._find_account, token)

    def _find_account(self, token: str) -> Any:  # noqa: ANN401 - as above
        """Return the user of a service account. FAB's cache would keep the roles of a former token for 30 s."""
        found = self.known_tokens.check(token)
        if found.state is not TokenState.VALID:
            raise InvalidTokenError(f"the token is {found.state}")
        read = fab_auth_manager.FabAuthManager.deserialize_user.__wrapped__
        try:
            return self.accounts.get(found.id, lambda: read(self, {"sub": str(found.user)}))
        except ValueError as error:
            raise InvalidTokenError(str(error)) from None

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
        if user.password == access_token.NO_PASSWORD:
            # The UI makes a token of Airflow's for whoever is logged in. It would outlast that of the service account.
            raise ValueError("a service account logs in with its own token alone")
        if self.known_users and self.known_users.has_ended(int(token["sub"])):
            raise ValueError(
                "the directory has not confirmed the user for too long, or does not know the user any more"
            )
        return user
