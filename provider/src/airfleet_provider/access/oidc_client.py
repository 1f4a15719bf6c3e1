"""The client of an OpenID provider, which trusts the certificates that fleet.yaml names and no others."""

from __future__ import annotations

from typing import Any

from authlib.integrations.flask_client import FlaskOAuth2App
from authlib.integrations.requests_client import OAuth2Session


class VerifiedSession(OAuth2Session):  # type: ignore[misc]  # Authlib has no types
    """A session whose `verify` goes before the environment: requests lets REQUESTS_CA_BUNDLE win over it."""

    def request(self, method: str, url: str, **more: Any) -> Any:  # noqa: ANN401 - what requests takes and returns
        """Send a request, as the session does."""
        more.setdefault("verify", self.verify)
        return super().request(method, url, **more)


class VerifiedApp(FlaskOAuth2App):  # type: ignore[misc]  # as above
    """What Authlib makes of a provider, with such sessions."""

    client_cls = VerifiedSession
