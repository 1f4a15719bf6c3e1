"""Requests of worker hosts to web hosts, signed with Airflow's [api] secret_key, which both ends know."""

from __future__ import annotations

import hashlib
import hmac
import re

# A signature is valid for this many seconds around its time: clocks of hosts differ, and an overheard request must not
# stay useful.
VALID_S = 300
TIME_HEADER, SIGNATURE_HEADER = "X-Airfleet-Time", "X-Airfleet-Signature"
_MOMENT, _SIGNATURE = re.compile(r"[0-9]{1,12}"), re.compile(r"[0-9a-f]{64}")


def sign(key: str, what: str, moment: int) -> str:
    """Return the signature of a request at `moment`, in seconds since 1970 (UTC). `what` says what it asks for."""
    return hmac.new(key.encode(), f"airfleet {what} {moment}".encode(), hashlib.sha256).hexdigest()


def is_signed(key: str, what: str, moment: str, signature: str, now: float) -> bool:
    """Return whether a request was signed with the key within `VALID_S` of `now`; False if a header is malformed."""
    if not _MOMENT.fullmatch(moment) or not _SIGNATURE.fullmatch(signature) or not what.isascii():
        return False
    if abs(now - int(moment)) > VALID_S:
        return False
    return hmac.compare_digest(sign(key, what, int(moment)), signature)
