"""How a worker without a way to the database is given the files of a release: over HTTP, from any web host.

Both ends know Airflow's [api] secret_key, with which a request is signed; what arrives is checked against its id.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from airfleet_provider.contract import environment

PATH = "/airfleet/releases"
# Clocks of hosts differ; a request that was overheard is worth nothing later.
VALID_S = 300
TIMEOUT_S = 60
_MOMENT, _SIGNATURE = re.compile(r"[0-9]{1,12}"), re.compile(r"[0-9a-f]{64}")
TIME_HEADER, SIGNATURE_HEADER = "X-Airfleet-Time", "X-Airfleet-Signature"


class ReleaseGoneError(LookupError):
    """There is no such release any more; one that was deployed was there once."""


def sign(key: str, release: str, moment: int) -> str:
    """What shows that whoever asks for a release at a moment knows the key."""
    return hmac.new(key.encode(), f"airfleet release {release} {moment}".encode(), hashlib.sha256).hexdigest()


def is_signed(key: str, release: str, moment: str, signature: str, now: float) -> bool:
    """Whether a request was signed with the key, not long ago; False for whatever else the headers hold."""
    if not _MOMENT.fullmatch(moment) or not _SIGNATURE.fullmatch(signature) or not release.isascii():
        return False
    if abs(now - int(moment)) > VALID_S:
        return False
    return hmac.compare_digest(sign(key, release, int(moment)), signature)


def fetch(release: str, key: str) -> bytes:
    """The archive of a release; raises OSError if no web host answers, LookupError if there is none to ask.

    ReleaseGoneError is for a web host that answers, and has no such release.
    """
    base = os.environ.get(environment.RELEASES)
    if not base:
        raise LookupError("a task has no way to the database")
    try:
        return _ask(base, release, key, int(time.time()))
    except urllib.error.HTTPError as refusal:
        # The clocks of the two hosts may differ by more than a signature lasts: the other one's is what counts.
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
