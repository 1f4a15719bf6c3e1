"""The outbox: notifications as rows, from the decision that somebody is notified to the outcome of the message.

A row is `pending` until a sender claims it. The claim writes the key of the message before the message is sent. So
after a crash the next sender knows which messages may have arrived, and sends exactly those again, with the same keys.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection

from airfleet_provider.contract.alert_schema import NotificationKind, Severity
from airfleet_provider.contract.notification_policy import NotificationPolicy, read_matcher
from airfleet_provider.contract.statements import Statements
from airfleet_provider.notifications import escalation
from airfleet_provider.notifications.escalation import Acknowledgement, ActiveSilence, Notification, OpenAlert
from airfleet_provider.notifications.messages import MessageEntry

SQL = Statements(__package__, "outbox")

# No attempt to send a message takes longer. After it, another sender may send the message again.
EXPIRY_S = 60.0
# A notification that could not be sent for so long is given up.
GIVE_UP_S = 3 * 86_400.0
# After so many attempts with an unknown outcome, a message lets others pass, and waits so many seconds at most.
PATIENCE = 3
LONGEST_WAIT_S = 300.0
# How often a receiver may refuse one notification before it is given up.
MOST_REFUSALS = 5
# How long alerts and their notifications are kept.
KEPT_DAYS = 90
# The alert about a receiver that gets nothing. Its label `receiver` says which.
UNDELIVERED = "NotificationsUndelivered"
TEST_SUMMARY = "This is a test. Nothing is wrong."

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Overdue:
    """The notifications for a receiver that should have been sent `age_s` seconds ago, and the last error."""

    receiver: str
    age_s: float
    error: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The notifications of one message, none if none is due. A message that is repeated may have arrived before."""

    ids: tuple[int, ...]
    is_repeated: bool


class Outbox:
    """The outbox in one transaction of a connection. `sender` is unique to this process."""

    def __init__(self, connection: Connection[Row], sender: str) -> None:
        self._connection = connection
        self._sender = sender

    def write_due(self, policy: NotificationPolicy) -> int:
        """Write the notifications that the alerts need now, by the clock of the database; return how many.

        May be interrupted and repeated, also by several processes at once.
        """
        rows = self._run(SQL["alerts"])
        alerts = [_read_alert(row) for row in rows]
        if not alerts:
            return 0
        ids = [one.id for one in alerts]
        acknowledgements = self._run(SQL["acknowledgements"], alerts=ids)
        decided = escalation.decide(
            alerts,
            [Acknowledgement(row["alert"], row["acknowledged_at"]) for row in acknowledgements],
            [_read_silence(row) for row in self._run(SQL["silences"])],
            [_read_notification(row) for row in self._run(SQL["written"], alerts=ids)],
            policy,
            rows[0]["now"],
        )
        settled = [one.id for one in alerts if one.resolved_at is not None]
        if decided or settled:
            self._run(SQL["write"], rows=json.dumps([_to_row(one) for one in decided]), settled=settled)
        return len(decided)

    def list_waiting(self) -> tuple[str, ...]:
        """Return the receivers for which something is due, or whose last message has an unknown outcome."""
        return tuple(row["receiver"] for row in self._run(SQL["waiting"]))

    def claim(self, receiver: str, most: int) -> Claim:
        """Claim the next message to a receiver, of `most` notifications at most.

        A message whose outcome is unknown comes first, and as it was.
        """
        same = {"receiver": receiver, "sender": self._sender}
        again = self._run(SQL["claim_again"], **same, expiry=EXPIRY_S, patience=PATIENCE, longest=LONGEST_WAIT_S)
        found = again or self._run(SQL["claim"], **same, most=most)
        return Claim(tuple(sorted(row["id"] for row in found)), is_repeated=bool(again))

    def read_content(self, ids: Sequence[int]) -> tuple[MessageEntry, ...]:
        """Return what the notifications report, as it is now."""
        return tuple(_read_entry(row) for row in self._run(SQL["content"], ids=list(ids)))

    def note_sent(self, ids: Sequence[int], note: str = "") -> None:
        """Record that the receiver has the message."""
        self._run(SQL["sent"], ids=list(ids), sender=self._sender, error=note or None)

    def note_unknown(self, ids: Sequence[int], error: str) -> None:
        """Record that the receiver may have the message or not. The same message is sent again."""
        self._run(SQL["unknown"], ids=list(ids), sender=self._sender, error=error, give_up=GIVE_UP_S)

    def note_unsent(self, ids: Sequence[int], error: str) -> None:
        """Record that the receiver has not got the message. Its notifications may go with others next time."""
        self._run(SQL["unsent"], ids=list(ids), sender=self._sender, error=error, give_up=GIVE_UP_S)

    def note_refused(self, ids: Sequence[int], error: str, wait_s: float) -> None:
        """Record that the receiver refuses the content. Next time each notification goes alone, `wait_s` later."""
        self._run(SQL["refused"], ids=list(ids), sender=self._sender, error=error, most=MOST_REFUSALS + 1, wait=wait_s)

    def give_up_others(self, receivers: Sequence[str]) -> None:
        """Give up the notifications for receivers that are none of these, and resolve the alerts about those."""
        self._run(SQL["give_up"], receivers=list(receivers))
        self._run(SQL["resolve_others"], receivers=list(receivers), name=UNDELIVERED)

    def list_overdue(self, after_s: float) -> tuple[Overdue, ...]:
        """Return the receivers with notifications that are unsent for longer than this."""
        rows = self._run(SQL["overdue"], after=after_s)
        return tuple(Overdue(row["receiver"], row["age_s"], row["error"] or "") for row in rows)

    def prune(self) -> None:
        """Delete some of the alerts, silences and tests that are older than KEPT_DAYS."""
        self._run(SQL["prune"], days=KEPT_DAYS)

    def _run(self, statement: LiteralString, **values: object) -> list[Row]:
        cursor = self._connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def _read_alert(row: Row) -> OpenAlert:
    return OpenAlert(
        id=row["id"],
        source=row["source"],
        name=row["name"],
        severity=Severity(row["severity"]),
        labels=row["labels"],
        severity_at=row["severity_at"],
        resolved_at=row["resolved_at"],
    )


def _read_silence(row: Row) -> ActiveSilence:
    return ActiveSilence(read_matcher(row["matchers"]), row["starts_at"], row["ends_at"])


def _read_notification(row: Row) -> Notification:
    _, chain, *place = row["key"].split(".", 4)
    kind = NotificationKind(row["kind"])
    numbers = (0, 0) if kind is NotificationKind.RESOLVED else (int(place[0]), int(place[1]))
    return Notification(row["alert"], row["receiver"], kind, row["due_at"], int(chain), *numbers)


def _to_row(one: Notification) -> dict[str, object]:
    return {
        "key": one.key,
        "alert": one.alert,
        "receiver": one.receiver,
        "kind": one.kind.value,
        "due_at": one.due_at.isoformat(),
    }


def _describe(row: Row) -> str:
    """Return the description of an alert, and first who ended it and why, if its source did not."""
    if not row["ended_by"]:
        return str(row["description"])
    return f"Ended by {row['ended_by']}: {row['end_note']}\n{row['description']}"


def _read_entry(row: Row) -> MessageEntry:
    is_test = row["alert"] is None
    return MessageEntry(
        notification=row["id"],
        key=row["key"],
        kind=NotificationKind(row["kind"]),
        message=row["message"],
        attempts=row["attempts"],
        alert=row["alert"],
        created_at=row["created_at"],
        fingerprint="" if is_test else row["fingerprint"],
        source="airfleet" if is_test else row["source"],
        name="Test" if is_test else row["name"],
        severity=Severity.INFO if is_test else Severity(row["severity"]),
        summary=TEST_SUMMARY if is_test else row["summary"],
        description="" if is_test else _describe(row),
        labels={} if is_test else row["labels"],
        runbook="" if is_test else row["runbook"],
        started_at=row["created_at"] if is_test else row["started_at"],
        raised_at=row["created_at"] if is_test else row["raised_at"],
        resolved_at=row["resolved_at"],
    )
