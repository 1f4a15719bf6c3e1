"""Downloads a release from any web host over HTTP, for workers that cannot connect to the database.

The worker signs a request with Airflow's [api] secret_key, which both ends know. The caller checks the archive against
the id of the release.
"""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from airfleet_provider.contract import environment
from airfleet_provider.network import signed_requests
from airfleet_provider.network.signed_requests import SIGNATURE_HEADER, TIME_HEADER

PATH = "/airfleet/releases"
TIMEOUT_S = 60


class ReleaseGoneError(LookupError):
    """The web host has no such release; a release that was once deployed was removed since."""


def sign(key: str, release: str, moment: int) -> str:
    """Return the signature of a request for a release at `moment`, in seconds since 1970 (UTC)."""
    return signed_requests.sign(key, f"release {release}", moment)


def is_signed(key: str, release: str, moment: str, signature: str, now: float) -> bool:
    """Return whether a request was signed with the key at about `now`; False if a header is malformed."""
    return signed_requests.is_signed(key, f"release {release}", moment, signature, now)


def fetch(release: str, key: str) -> bytes:
    """Return the archive of a release.

    Raises:
        OSError: no web host answers, or it refuses the request.
        ReleaseGoneError: the web host has no such release.
        LookupError: the environment of this process names no web host.
    """
    base = os.environ.get(environment.RELEASES)
    if not base:
        raise LookupError("a task has no way to the database")
    try:
        return _ask(base, release, key, int(time.time()))
    except urllib.error.HTTPError as refusal:
        # The clocks of the two hosts may differ too much: sign again with the time of the web host.
        said = refusal.headers.get("Date") if refusal.code == HTTPStatus.FORBIDDEN else None
        if said is None:
            raise
        moment = int(parsedate_to_datetime(said).timestamp())
    return _ask(base, release, key, moment)


def _ask(base: str, release: str, key: str, moment: int) -> bytes:
    request = urllib.request.Request(  # noqa: S310 - the address is airfleet's own
        f"{base}{PATH}/{release}", headers={TIME_HEADER: str(moment), SIGNATURE_HEADER: sign(key, release, moment)}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            raise ReleaseGoneError(release) from error
        raise
