"""Who somebody is, by the claims of an OpenID provider. The signature, nonce and time have been checked before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airfleet_provider.access.directory_errors import DirectoryError
from airfleet_provider.contract.directory import DirectoryGroup, DirectoryUser, OidcSource


def read_user(source: OidcSource, response: Mapping[str, Any], ask: Callable[[], Mapping[str, Any]]) -> DirectoryUser:
    """Return the user of a token response. `ask` asks the userinfo endpoint for claims that the ID token lacks.

    Raises:
        DirectoryError: The response is not for this client, or does not name a user.
    """
    claims = response.get("userinfo")
    if not isinstance(claims, Mapping):
        raise DirectoryError("the provider sent no ID token", "ask for the scope `openid`")
    if claims.get("iss") != source.issuer:
        raise DirectoryError(f"the ID token is of {claims.get('iss')!r}", "write this issuer into fleet.yaml")
    if source.client_id not in as_list(claims.get("aud")):
        raise DirectoryError("the ID token is for another client", "log in again")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise DirectoryError("the ID token has no subject", "this is no OpenID provider")
    if source.name_claim not in claims or source.groups_claim not in claims:
        more = ask()
        if more.get("sub") != subject:
            raise DirectoryError("the userinfo endpoint answered for somebody else", "log in again")
        claims = {**more, **claims}
    return describe_user(source, subject, claims)


def describe_user(source: OidcSource, subject: str, claims: Mapping[str, Any]) -> DirectoryUser:
    """Return the user of these claims.

    Raises:
        DirectoryError: They name no user, or by an address that the provider has not verified.
    """
    name = claims.get(source.name_claim)
    if not isinstance(name, str) or not name.strip():
        raise DirectoryError(f"no claim {source.name_claim!r} names the user", "set access.login.oidc.name_claim")
    if source.name_claim == "email" and claims.get("email_verified") is not True:
        raise DirectoryError("the provider has not verified the e-mail address", "choose another name_claim")
    groups = tuple(DirectoryGroup(one) for one in as_list(claims.get(source.groups_claim)))
    email, first, last = (str(claims.get(one) or "") for one in ("email", "given_name", "family_name"))
    return DirectoryUser(name.strip().lower(), subject, email, first or str(claims.get("name") or ""), last, groups)


def as_list(value: object) -> list[str]:
    """Return a claim that may be one text or several."""
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
