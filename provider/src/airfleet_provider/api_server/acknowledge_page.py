"""The page behind the link of a message: GET shows the alert, and only POST acknowledges it.

Programs that scan mails follow links, but they do not submit forms.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from airfleet_provider.contract import alert_links, alert_schema
from airfleet_provider.contract.alert_links import BadLinkError, Capability
from airfleet_provider.contract.notification_policy import derive_link_key
from airfleet_provider.contract.text import one_line

# The token is in the address, so no other site may learn the address, and nobody may show the page in a frame.
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
}
CONTENT_TYPE = "text/html; charset=utf-8"
_LONGEST_NAME = 100
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ font-family: sans-serif; max-width: 40em; margin: 3em auto; padding: 0 1em }}
button, input {{ font-size: 1em; padding: .4em .8em }}</style></head>
<body><h1>{title}</h1>{body}</body></html>
"""


@dataclass(frozen=True, slots=True)
class Page:
    """An answer in HTML."""

    status: HTTPStatus
    html: str


def list_keys(jwt_secret: str, known: str) -> tuple[str, ...]:
    """Return the keys that may have signed a link.

    `known` is the list of the keys that the fleet accepts now, in JSON. It may be empty.
    """
    others = json.loads(known) if known else []
    return tuple(dict.fromkeys((derive_link_key(jwt_secret), *others)))


def verify(query: str, keys: tuple[str, ...], *, now: float) -> Capability | Page:
    """Return what a link allows, or the page for a link that is not signed by one of the keys, or has expired.

    Ask this before the database and before the body of a request is read: everybody may send one.
    """
    token = "".join(parse_qs(query[:5000]).get("token", [])[:1])
    problem = "this link is not one of this fleet"
    for key in keys:
        try:
            return alert_links.verify(token, key, now=now)
        except BadLinkError as error:
            problem = str(error)
    return _make(HTTPStatus.FORBIDDEN, "Not acknowledged", f"<p>{escape(problem)}</p>")


def show(connection: Any, capability: Capability) -> Page:  # noqa: ANN401 - of psycopg or psycopg2
    """Return the page with the alert of a link and a button."""
    alert = alert_schema.read_alert(connection, capability.alert)
    if alert is None:
        return _gone()
    body = _describe(alert)
    if alert.is_resolved:
        return _make(HTTPStatus.OK, "Resolved", f"{body}<p>This alert has resolved. Nothing is left to do.</p>")
    if alert.acknowledged_by is not None:
        body += f"<p>{escape(alert.acknowledged_by)} has acknowledged it.</p>"
    form = (
        '<form method="post"><p><label>Your name <input name="name" maxlength="100"></label></p>'
        '<p><button type="submit">Acknowledge</button></p></form>'
    )
    return _make(HTTPStatus.OK, "Acknowledge this alert?", body + form)


def acknowledge(connection: Any, capability: Capability, body: bytes) -> Page:  # noqa: ANN401 - as above
    """Acknowledge the alert of a link, and return the page that says so."""
    alert = alert_schema.read_alert(connection, capability.alert)
    if alert is None:
        return _gone()
    names = parse_qs(body[:10_000].decode("utf-8", "replace")).get("name", [])
    # Terminals, mails and a database that keeps no NUL get it.
    name = one_line(names[0].strip()[:_LONGEST_NAME], 10 * _LONGEST_NAME) if names else ""
    actor = f"{name} ({capability.receiver})" if name else capability.receiver
    alert_schema.acknowledge(connection, alert.id, actor=actor, via="link")
    return _make(
        HTTPStatus.OK, "Acknowledged", f"{_describe(alert)}<p>Nobody else is notified while this alert lasts.</p>"
    )


def _gone() -> Page:
    return _make(HTTPStatus.NOT_FOUND, "Gone", "<p>This alert was deleted, as it is old.</p>")


def _describe(alert: alert_schema.AlertView) -> str:
    return (
        f"<p><b>{escape(alert.severity)}: {escape(alert.name)}</b> (alert {alert.id})</p><p>{escape(alert.summary)}</p>"
    )


def _make(status: HTTPStatus, title: str, body: str) -> Page:
    return Page(status, _PAGE.format(title=escape(title), body=body))
