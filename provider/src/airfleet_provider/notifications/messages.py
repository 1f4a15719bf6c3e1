"""What a message reports: the notifications that it carries, in one item for each alert.

Every text comes from Dags or from other programs. This module bounds the texts. Each format escapes them its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from airfleet_provider.contract import alert_links
from airfleet_provider.contract.alert_links import Capability
from airfleet_provider.contract.alert_schema import NotificationKind, Severity
from airfleet_provider.contract.notification_policy import NotificationPolicy, Receiver
from airfleet_provider.contract.text import one_line

LONGEST_SUBJECT = 180
LONGEST_SUMMARY = 300
LONGEST_DESCRIPTION = 2000
# A message with more alerts than these has only their summaries.
MOST_DESCRIBED = 5
MOST_LABELS = 12


class Status(StrEnum):
    """What has become of an alert, in the words of a message."""

    FIRING = "firing"
    STILL_FIRING = "still firing"
    RESOLVED = "resolved"
    # The receiver learns of both at once, as after an outage.
    FIRED_AND_RESOLVED = "fired and resolved"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class MessageEntry:
    """One notification with its alert. `alert` is None for a test."""

    notification: int
    key: str
    kind: NotificationKind
    message: str
    attempts: int
    alert: int | None
    created_at: datetime
    fingerprint: str
    source: str
    name: str
    severity: Severity
    summary: str
    description: str
    labels: Mapping[str, str]
    runbook: str
    started_at: datetime
    raised_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Item:
    """One alert in a message, with the kinds of its notifications. `acknowledge` and `link` are addresses or empty."""

    entry: MessageEntry
    kinds: frozenset[NotificationKind]
    keys: tuple[str, ...]
    status: Status
    summary: str
    description: str
    labels: tuple[tuple[str, str], ...]
    runbook: str
    acknowledge: str
    link: str

    @property
    def started(self) -> str:
        return format_moment(self.entry.started_at)

    @property
    def resolved(self) -> str:
        is_over = self.status in (Status.RESOLVED, Status.FIRED_AND_RESOLVED)
        return format_moment(self.entry.resolved_at) if self.entry.resolved_at and is_over else ""

    @property
    def title(self) -> str:
        return f"{self.entry.severity}: {one_line(self.entry.name, 100)}"


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent at once to one receiver. The key is the same each time that the same message is sent."""

    key: str
    fleet: str
    subject: str
    items: tuple[Item, ...]
    # An earlier attempt may have arrived.
    is_repeated: bool
    created_at: datetime


def compose(
    entries: Iterable[MessageEntry], policy: NotificationPolicy, receiver: Receiver, *, now: float, is_repeated: bool
) -> Message:
    """Return the message for the notifications of one claim, of which there is one at least."""
    grouped: dict[int, list[MessageEntry]] = {}
    for entry in entries:
        grouped.setdefault(-entry.notification if entry.alert is None else entry.alert, []).append(entry)
    is_described = len(grouped) <= MOST_DESCRIBED

    def sign(alert: int) -> str:
        if not policy.base_url or not policy.link_key:
            return ""
        token = alert_links.sign(Capability(alert, receiver.name), policy.link_key, now=now)
        return alert_links.link_to_acknowledge(policy.base_url, token)

    items = tuple(
        _make_item(found, policy, sign, is_described=is_described, is_end_reported=receiver.send_resolved)
        for found in grouped.values()
    )
    first = items[0].entry
    return Message(
        key=first.message,
        fleet=policy.fleet,
        subject=one_line(_make_subject(items, policy.fleet), LONGEST_SUBJECT),
        items=items,
        is_repeated=is_repeated,
        created_at=min(one.entry.created_at for one in items),
    )


def format_moment(moment: datetime) -> str:
    """Format a time as people read it in a message."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _make_item(
    found: list[MessageEntry],
    policy: NotificationPolicy,
    sign: Callable[[int], str],
    *,
    is_described: bool,
    is_end_reported: bool,
) -> Item:
    entry = found[-1]
    kinds = frozenset(one.kind for one in found)
    # If a notification of the end follows, it reports the end.
    is_over = NotificationKind.RESOLVED in kinds or (entry.resolved_at is not None and not is_end_reported)
    status = _find_status(kinds, is_over=is_over)
    is_open = status in (Status.FIRING, Status.STILL_FIRING)
    runbook = entry.runbook if entry.runbook.startswith(("http://", "https://")) else ""
    return Item(
        entry=entry,
        kinds=kinds,
        keys=tuple(one.key for one in found),
        status=status,
        summary=one_line(entry.summary, LONGEST_SUMMARY),
        description=_bound(entry.description) if is_described else "",
        labels=tuple(
            (one_line(key, 100), one_line(text, 100)) for key, text in sorted(entry.labels.items())[:MOST_LABELS]
        )
        if is_described
        else (),
        runbook=one_line(runbook, 500).replace("|", "%7C").replace(" ", "%20"),
        acknowledge=sign(entry.alert) if is_open and entry.alert is not None else "",
        link=alert_links.link_to_run(policy.base_url, entry.labels),
    )


def _find_status(kinds: frozenset[NotificationKind], *, is_over: bool) -> Status:
    if NotificationKind.TEST in kinds:
        return Status.TEST
    has_begun = bool(kinds & {NotificationKind.FIRING, NotificationKind.REMINDER})
    if is_over:
        return Status.FIRED_AND_RESOLVED if has_begun else Status.RESOLVED
    return Status.FIRING if NotificationKind.FIRING in kinds else Status.STILL_FIRING


def _make_subject(items: tuple[Item, ...], fleet: str) -> str:
    if len(items) == 1:
        (item,) = items
        return f"[{item.status}] {item.title}: {item.summary} ({fleet})"
    counts = {status: sum(item.status is status for item in items) for status in Status}
    names = ", ".join(dict.fromkeys(one_line(item.entry.name, 60) for item in items))
    return f"[{', '.join(f'{count} {status}' for status, count in counts.items() if count)}] {fleet}: {names}"


def _bound(text: str) -> str:
    """Return a text of several lines without control characters, LONGEST_DESCRIPTION characters at most."""
    lines = (one_line(line, 500) for line in text[:LONGEST_DESCRIPTION].splitlines())
    return "\n".join(lines)
