"""FAB's sign-in for users of a directory or an OpenID provider, beside the local users of fleet.yaml (ADR 78).

A local user logs in by the local password alone, and the source is not asked: so the user `admin` can log in while the
source is down. Somebody from the source logs in by the source alone, and has no local password.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride
from airflow.providers.fab.auth_manager.views.auth_oauth import CustomAuthOAuthView
from airflow.providers.fab.www.views import get_safe_url, redirect
from fastapi import HTTPException
from flask import flash, g, has_request_context, make_response, request
from flask_appbuilder import expose
from flask_appbuilder.security.decorators import no_cache
from flask_appbuilder.security.forms import LoginForm_db
from flask_login import login_user
from werkzeug.exceptions import ServiceUnavailable

from airfleet_provider.access.directory_errors import DirectoryError
from airfleet_provider.access.directory_file import read_directory
from airfleet_provider.access.directory_store import DirectoryStore, RefusedUserError
from airfleet_provider.access.known_users import KnownUsers
from airfleet_provider.access.ldap_client import LdapClient
from airfleet_provider.access.oidc_claims import read_user
from airfleet_provider.access.source_gate import SourceBusyError, SourceGate
from airfleet_provider.contract.directory import OIDC_NAME, Directory, DirectoryUser, LdapSource, OidcSource
from airfleet_provider.contract.text import one_line

log = logging.getLogger(__name__)

AWAY = "The directory does not answer, so nobody of it can log in now. Users of fleet.yaml can."
BUSY = "Too many logins wait for the directory or the provider; try again in a moment. Users of fleet.yaml can log in."
AGAIN_S = "5"


class SignInView(CustomAuthOAuthView):  # type: ignore[misc]  # FAB has no types
    """One page with the way to the OpenID provider, and the form for local users."""

    # FAB looks for a relative one beside its own modules.
    template_folder = str(Path(__file__).with_name("templates"))

    @expose("/login/", methods=["GET", "POST"])
    @expose("/login/<provider>")
    @no_cache
    def login(self, provider: str | None = None) -> Any:  # noqa: ANN401 - a response of Flask
        """Show the page, send the browser to the provider, or log a local user in."""
        if provider is not None:
            # The library asks the provider where it logs users in.
            return self._ask_provider(super().login, provider)
        if g.user is not None and g.user.is_authenticated:
            return redirect(self.appbuilder.get_url_for_index)
        form = LoginForm_db()
        if not form.validate_on_submit():
            source = require_directory().source
            label = source.label if isinstance(source, OidcSource) else ""
            # Nothing else of the address, which whoever makes a link chooses: `url_for` has words of its own.
            kept = {"next": request.args["next"]} if "next" in request.args else {}
            more = {"provider": OIDC_NAME, "label": label, "kept": kept}
            return self.render_template(
                "airfleet_sign_in.html", title=self.title, form=form, appbuilder=self.appbuilder, **more
            )
        after = get_safe_url(request.args.get("next", ""))
        user = self.appbuilder.sm.auth_user_db(form.username.data, form.password.data)
        if not user:
            flash(str(self.invalid_login_message), "warning")
            return redirect(self.appbuilder.get_url_for_login_with(after))
        login_user(user, remember=False)
        return redirect(after)

    @expose("/oauth-authorized/<provider>")
    def oauth_authorized(self, provider: str) -> Any:  # noqa: ANN401 - as above
        """Let the provider say who has logged in there."""
        return self._ask_provider(super().oauth_authorized, provider)

    def _ask_provider(self, ask: Callable[[str], Any], provider: str) -> Any:  # noqa: ANN401 - as above
        try:
            with self.appbuilder.sm.gate.enter():
                return ask(provider)
        except SourceBusyError as error:
            refuse(error)


class DirectorySecurityManager(FabAirflowSecurityManagerOverride):  # type: ignore[misc]  # as above
    """Lets local users in by their password, and all others by the source."""

    authoauthview = SignInView
    # One for all of FAB's applications in this process.
    gate = SourceGate()

    def __init__(self, appbuilder: Any) -> None:  # noqa: ANN401 - FAB's
        self.directory = require_directory()
        self.store = DirectoryStore(self.directory)
        self.known = KnownUsers(self.directory, self.store.read_known)
        super().__init__(appbuilder)

    def load_user(self, pk: Any) -> Any:  # noqa: ANN401 - the number of a user, and FAB's user
        """Return the user of a session, unless the source must confirm the user again."""
        user = super().load_user(pk)
        return None if user is None or self.known.has_ended(int(user.id)) else user

    def auth_user_db(self, username: str, password: str, rotate_session_id: bool = True) -> Any:  # noqa: ANN401
        """Log a local user in. A password that somebody of the source has here, for whatever reason, does not count."""
        return super().auth_user_db(username if self._is_local(username) else None, password, rotate_session_id)

    def auth_user_ldap(self, username: str, password: str, rotate_session_id: bool = True) -> Any:  # noqa: ANN401
        """Log a local user in by the local password, and anybody else by the directory.

        Raises:
            HTTPException: The directory does not answer, or too many logins wait for it. That is no failed login.
        """
        if not username or self._is_local(username):
            return super().auth_user_db(username, password, rotate_session_id)
        if not isinstance(self.directory.source, LdapSource):
            return None
        try:
            with self.gate.enter():
                found = check_login(LdapClient(self.directory.source), username, password)
        except DirectoryError as error:
            refuse(error)
        return self._admit(found, rotate_session_id) if found else None

    def get_oauth_user_info(self, provider: str, resp: Any) -> dict[str, Any]:  # noqa: ANN401 - what Authlib returns
        """Return the user whom a valid ID token names, in the form that `auth_user_oauth` gets."""
        assert isinstance(self.directory.source, OidcSource)  # noqa: S101 - FAB has no provider otherwise
        remote = self.oauth_remotes[provider]
        return {"found": read_user(self.directory.source, resp, lambda: remote.userinfo(token=resp))}

    def set_oauth_session(self, provider: str, oauth_response: Any) -> None:  # noqa: ANN401 - as above
        """Keep no token of the provider in the database."""

    def auth_user_oauth(self, userinfo: dict[str, Any], rotate_session_id: bool = True) -> Any:  # noqa: ANN401
        """Log the user of the provider in."""
        found = userinfo.get("found")
        return self._admit(found, rotate_session_id) if isinstance(found, DirectoryUser) else None

    def _admit(self, found: DirectoryUser, rotate_session_id: bool) -> Any:  # noqa: ANN401 - FAB's user
        try:
            number = self.store.sign_in(found)
        except RefusedUserError as error:
            log.warning("%s may not log in: %s", one_line(found.name), error)
            return None
        # The change was made in another transaction.
        self.session.rollback()
        self.session.expire_all()
        user = self.get_user_by_id(number)
        if rotate_session_id:
            self._rotate_session_id()
        self.update_user_auth_stat(user)
        self._reset_user_permissions_cache(user)
        return user

    def _is_local(self, username: str) -> bool:
        """Return whether a name, or an e-mail address, is that of a user who does not come from a source."""
        user = self.find_user(username=username) or self.find_user(email=username) if username else None
        if user is None:
            return (username or "").lower() in self.directory.local
        return int(user.id) not in self.store.read_known()


def check_login(client: LdapClient, username: str, password: str) -> DirectoryUser | None:
    """Return the user if the directory has one with this name and password.

    Raises:
        DirectoryError: The directory cannot say.
    """
    with client.open() as session:
        found = session.find(username)
    return found[1] if found and client.check_password(found[0], password) else None


def refuse(error: DirectoryError) -> NoReturn:
    """Answer that nobody can be asked who somebody is, in words without the names of servers.

    Raises:
        HTTPException: Always, that of FastAPI or of Flask, which answer a program and a browser.
    """
    log.error("nobody of the directory can log in: %s; %s", one_line(error.what), one_line(error.hint))
    text = BUSY if isinstance(error, SourceBusyError) else AWAY
    if not has_request_context():
        raise HTTPException(503, text, headers={"Retry-After": AGAIN_S})
    answer = make_response(text, 503, {"Content-Type": "text/plain; charset=utf-8", "Retry-After": AGAIN_S})
    raise ServiceUnavailable(response=answer)


def require_directory() -> Directory:
    """Return the directory of this process; only one that has it uses this module."""
    found = read_directory()
    assert found is not None  # noqa: S101 - as above
    return found
