"""The signed links in messages, which acknowledge one alert.

A link is a capability: who has the message may acknowledge its alert, and nothing else, until the link expires.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

# Below the address of the api-server.
PATH = "/airfleet/acknowledge"
VALID_S = 3 * 86_400
_LONGEST = 1000


class BadLinkError(Exception):
    """The link was not made by this fleet, or it has expired; the message says which."""


@dataclass(frozen=True, slots=True)
class Capability:
    """The alert that a link acknowledges, and the receiver whose message had the link."""

    alert: int
    receiver: str


def sign(capability: Capability, key: str, *, now: float) -> str:
    """Return the token of a link that is valid for VALID_S seconds."""
    body = json.dumps([capability.alert, capability.receiver, int(now) + VALID_S], separators=(",", ":"))
    encoded = base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")
    return f"{encoded}.{_mac(encoded, key)}"


def verify(token: str, key: str, *, now: float) -> Capability:
    """Return what a token allows.

    Raises:
        BadLinkError: The token is not signed with this key, or it has expired.
    """
    encoded, _, mac = token[:_LONGEST].partition(".")
    if not key or not hmac.compare_digest(mac.encode(), _mac(encoded, key).encode()):
        raise BadLinkError("this link is not one of this fleet")
    try:
        alert, receiver, expires = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, binascii.Error):
        raise BadLinkError("this link is not one of this fleet") from None
    if now > expires:
        raise BadLinkError("this link has expired: acknowledge with `airfleet alerts ack`")
    return Capability(int(alert), str(receiver))


def _mac(encoded: str, key: str) -> str:
    return hmac.new(key.encode(), b"acknowledge " + encoded.encode(), hashlib.sha256).hexdigest()[:40]


def link_to_acknowledge(base_url: str, token: str) -> str:
    """Return the address of the page that acknowledges; the token has only characters that need no quoting."""
    return f"{base_url.rstrip('/')}{PATH}/?token={token}"


def link_to_run(base_url: str, labels: Mapping[str, str]) -> str:
    """Return the address of the Dag run or the Dag that the labels name, or an empty text."""
    dag, run = labels.get("dag_id", ""), labels.get("run_id", "")
    if not base_url or not dag:
        return ""
    place = f"{base_url.rstrip('/')}/dags/{quote(dag, safe='')}"
    return f"{place}/runs/{quote(run, safe='')}" if run else place


def link_to_task(base_url: str, labels: Mapping[str, str]) -> str:
    """Return the address of the task instance that the labels name, with its log, or an empty text."""
    run, task = link_to_run(base_url, labels), labels.get("task_id", "")
    if not run or not labels.get("run_id") or not task:
        return ""
    place = f"{run}/tasks/{quote(task, safe='')}"
    index = labels.get("map_index", "-1")
    return place if index == "-1" else f"{place}/mapped/{index}"
