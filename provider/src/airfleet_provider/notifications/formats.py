"""A message in the formats of the receivers. Each function escapes what its format would read as markup."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC
from email import policy as email_policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from airfleet_provider.contract.alert_schema import NotificationKind, Severity
from airfleet_provider.contract.notification_policy import Receiver
from airfleet_provider.notifications.messages import Item, Message, Status

# How many notifications one message carries at most, so that no receiver cuts its end off.
MOST_MAILED = 200
MOST_POSTED = 40
MOST_IN_WEBHOOK = 200
# Slack cuts the text of a message there.
LONGEST_SLACK = 39_000
REPEATED = "This may be a repetition: the first attempt to send this message had no answer."
_MARKS = {Severity.CRITICAL: "🔴", Severity.WARNING: "🟠", Severity.INFO: "🔵"}


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("airfleet_provider.notifications"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["slack"] = escape_slack
    return environment


def _render(template: str, message: Message) -> str:
    return _templates().get_template(template).render(message=message, mark=_find_mark, repeated=REPEATED)


def _find_mark(item: Item) -> str:
    is_over = item.status in (Status.RESOLVED, Status.FIRED_AND_RESOLVED)
    return "🟢" if is_over else _MARKS[item.entry.severity]


def make_mail(message: Message, receiver: Receiver) -> EmailMessage:
    """Return the mail, in plain text and in HTML. Each time that the message is sent, the Message-ID is the same."""
    sender = receiver.sender
    mail = EmailMessage(policy=email_policy.SMTP)
    mail["From"] = Address(display_name=f"airfleet {message.fleet}", addr_spec=sender)
    mail["To"] = ", ".join(receiver.to)
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(message.created_at.astimezone(UTC))
    mail["Message-ID"] = f"<{name_message(message, receiver)}@{sender.rpartition('@')[2]}>"
    # No answers from holiday responders, and mail programs show the course of one alert as one thread.
    mail["Auto-Submitted"] = "auto-generated"
    if len(message.items) == 1:
        mail["References"] = f"<{name_alert(message, message.items[0])}@{sender.rpartition('@')[2]}>"
    mail.set_content(_render("mail.txt.j2", message))
    mail.add_alternative(_render("mail.html.j2", message), subtype="html")
    return mail


def make_slack(message: Message) -> dict[str, Any]:
    """Return the body for an incoming webhook of Slack.

    Slack reads mentions and links only between angle brackets, which are escaped.
    """
    return {"text": _cut(_render("slack.txt.j2", message), LONGEST_SLACK), "unfurl_links": False, "link_names": False}


def escape_slack(text: str) -> str:
    """Return a text that Slack shows as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def make_teams(message: Message) -> dict[str, Any]:
    """Return the body for a workflow of Microsoft Teams: an adaptive card, whose text runs know no markup."""
    body: list[dict[str, Any]] = [_card_text(message.subject, weight="Bolder", size="Medium")]
    if message.is_repeated:
        body.append(_card_text(REPEATED, isSubtle=True))
    for item in message.items:
        body.append(_card_text(f"{_find_mark(item)} {item.title} ({item.status})", weight="Bolder"))
        body.append(_card_text(item.summary))
        body += [_card_text(item.description)] if item.description else []
        addresses = (("Acknowledge", item.acknowledge), ("Open in Airflow", item.link), ("Runbook", item.runbook))
        actions = [{"type": "Action.OpenUrl", "title": title, "url": url} for title, url in addresses if url]
        body += [{"type": "ActionSet", "actions": actions}] if actions else []
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _card_text(text: str, **style: object) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}


def make_pagerduty(message: Message, receiver: Receiver) -> dict[str, Any]:
    """Return an event of PagerDuty's Events API v2 for a message of one notification.

    The `dedup_key` is the alert's: however often an event arrives, there is one incident.
    """
    (item,) = message.items
    entry = item.entry
    # A message that let others pass must not open an incident again that has ended since.
    is_end = item.kinds == {NotificationKind.RESOLVED} or (
        message.is_repeated and entry.attempts > 3 and entry.resolved_at is not None
    )
    addresses = (("Acknowledge", item.acknowledge), ("Open in Airflow", item.link), ("Runbook", item.runbook))
    event: dict[str, Any] = {
        "routing_key": receiver.secret,
        "event_action": "resolve" if is_end else "trigger",
        "dedup_key": name_alert(message, item),
    }
    if is_end:
        return event
    return {
        **event,
        "client": f"airfleet {message.fleet}",
        "links": [{"href": url, "text": title} for title, url in addresses if url],
        "payload": {
            "summary": f"{item.title}: {item.summary}"[:1024],
            "source": message.fleet,
            "severity": entry.severity.value,
            "timestamp": entry.started_at.isoformat(),
            "component": entry.source,
            "class": entry.name,
            "custom_details": {"description": item.description, "labels": dict(entry.labels)},
        },
    }


def make_webhook(message: Message) -> dict[str, Any]:
    """Return the body for a webhook: all alerts of the message with all that is known of them."""
    return {
        "version": 1,
        "key": message.key,
        "fleet": message.fleet,
        "title": message.subject,
        "alerts": [_describe(message, item) for item in message.items],
    }


def _describe(message: Message, item: Item) -> Mapping[str, Any]:
    entry = item.entry
    return {
        "id": entry.alert,
        "key": name_alert(message, item),
        "status": item.status.value,
        "fingerprint": entry.fingerprint,
        "source": entry.source,
        "name": entry.name,
        "severity": entry.severity.value,
        "summary": entry.summary,
        "description": entry.description,
        "labels": dict(entry.labels),
        "runbook": item.runbook,
        "started_at": entry.started_at.isoformat(),
        "resolved_at": entry.resolved_at.isoformat() if entry.resolved_at and item.resolved else None,
        "acknowledge": item.acknowledge,
        "link": item.link,
        "notifications": list(item.keys),
    }


def name_message(message: Message, receiver: Receiver) -> str:
    """Return a name of the message that is unique in the world: the fleet and the receiver are part of it."""
    return hashlib.sha256(f"{message.fleet}\n{receiver.name}\n{message.key}".encode()).hexdigest()[:40]


def name_alert(message: Message, item: Item) -> str:
    """Return a name of the alert. A database that was restored gives an id again, so the moment is part of it."""
    entry = item.entry
    if entry.alert is None:
        return f"airfleet.{message.fleet}.{entry.key}"
    return f"airfleet.{message.fleet}.{entry.alert}.{int(entry.raised_at.timestamp())}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 2]}\n…"
