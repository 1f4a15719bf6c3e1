"""What can be checked of an OpenID provider without a login: its description, clock, keys, and this client's secret."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from airfleet_provider.access.directory_errors import DirectoryError, describe_network
from airfleet_provider.contract.directory import CheckStep, OidcSource

TIMEOUT_S = 10
# The library refuses ID tokens whose times are wrong by more than two minutes.
SKEW_S = 60


def check_provider(source: OidcSource, callback: str, now: Callable[[], float]) -> Iterator[CheckStep]:
    """Yield the steps of the self-test; a step that keeps the others from being done is the last.

    Raises:
        DirectoryError: The provider does not answer as one.
    """
    context = ssl.create_default_context(cadata=source.authority or None)
    with httpx.Client(verify=context, timeout=TIMEOUT_S, trust_env=True, follow_redirects=False) as client:
        answer = _ask(client, "GET", source.discovery)
        if answer.status_code != 200:
            raise DirectoryError(
                f"{source.discovery} answers with {answer.status_code}",
                "correct `issuer`: it is the URL before /.well-known/openid-configuration",
            )
        found = _read(answer)
        yield CheckStep(f"{source.discovery}: the provider answers, and its certificate is verified", True)
        if found.get("issuer") != source.issuer:
            yield CheckStep(
                f"the provider calls itself {found.get('issuer')!r}, and not {source.issuer!r}",
                False,
                hint="write its own name into `issuer`, to the last slash",
            )
        yield _check_clock(answer, now())
        yield _check_scopes(source, found)
        keys = _read(_ask(client, "GET", str(found.get("jwks_uri")))).get("keys")
        yield CheckStep(f"the provider has {len(keys or [])} keys for ID tokens", bool(keys), hint="ask its operator")
        yield _check_client(client, source, str(found.get("token_endpoint")), callback)
        yield _check_callback(client, source, str(found.get("authorization_endpoint")), callback)


def _check_clock(answer: httpx.Response, now: float) -> CheckStep:
    try:
        apart = abs(parsedate_to_datetime(answer.headers["date"]).timestamp() - now)
    except (KeyError, ValueError):
        return CheckStep("the provider does not say what time it is", True)
    what = f"the clocks differ by {apart:.0f} s"
    return CheckStep(what, apart <= SKEW_S, hint="set the clock of this host: timedatectl status")


def _check_scopes(source: OidcSource, found: dict[str, Any]) -> CheckStep:
    known = found.get("scopes_supported")
    unknown = [one for one in source.scopes if isinstance(known, list) and one not in known]
    if unknown:
        return CheckStep(
            f"the provider does not know the scope {', '.join(unknown)}",
            False,
            hint=f"set access.login.oidc.scopes; it knows {', '.join(map(str, known or []))}",
        )
    return CheckStep(f"the provider knows the scopes {', '.join(source.scopes)}", True)


def _check_client(client: httpx.Client, source: OidcSource, endpoint: str, callback: str) -> CheckStep:
    """Redeem a code that does not exist: a provider checks the client first, and then the code."""
    form = {"grant_type": "authorization_code", "code": "airfleet-self-test", "redirect_uri": callback}
    form |= {"code_verifier": "a" * 64}
    answer = _ask(client, "POST", endpoint, data=form, auth=(source.client_id, source.client_secret))
    error = str(_read(answer).get("error", answer.status_code))
    if error in ("invalid_client", "unauthorized_client") or answer.status_code == 401:
        return CheckStep(
            f"the provider refuses the client {source.client_id} or its secret ({error})",
            False,
            hint="correct `client`, or the secret: a copy may have a blank or a new line at its end",
        )
    return CheckStep(f"the provider knows the client {source.client_id} and its secret", True)


def _check_callback(client: httpx.Client, source: OidcSource, endpoint: str, callback: str) -> CheckStep:
    query = {
        "response_type": "code",
        "client_id": source.client_id,
        "redirect_uri": callback,
        "scope": " ".join(source.scopes),
        "state": "airfleet-self-test",
        "code_challenge": "a" * 43,
        "code_challenge_method": "S256",
    }
    answer = _ask(client, "GET", endpoint, params=query)
    if answer.status_code >= 400:
        return CheckStep(
            f"the provider does not accept {callback} ({answer.status_code})",
            False,
            hint=f"register exactly this redirect URI for the client {source.client_id}",
        )
    return CheckStep(f"the provider sends browsers back to {callback}", True)


def _ask(client: httpx.Client, method: str, url: str, **more: Any) -> httpx.Response:  # noqa: ANN401 - options of httpx
    try:
        return client.request(method, url, **more)
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
        raise describe_network(error, url) from None


def _read(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
