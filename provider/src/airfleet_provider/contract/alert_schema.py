"""The tables of alerts, and the statements that raise and resolve an alert. `contract.migrations` makes the tables.

Whatever finds a fault writes an alert and notifies no person itself: the notifier does that (ADR 45). An alert is a row
of `airfleet.alert`. Its fingerprint names the condition; while the condition holds there is one open row. When the
condition holds again after it ended, a new row begins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "alert_schema")

# The name in `airfleet.heartbeat` of the watchdog alert of Prometheus, which fires all the time.
WATCHDOG = "watchdog"
# A signal that was away for so many seconds had a gap. The watchdog alert arrives each minute.
GAP_S = 300.0
# Who ended an alert whose source asserts it no longer, in `airfleet.alert.ended_by`. Persons have names of their own.
AGENTS = "airfleet"

# Limits in characters. Names and labels come from Dags, so they have any length.
LONGEST_NAME = 200
LONGEST_SUMMARY = 1000
LONGEST_DESCRIPTION = 8000
LONGEST_LABEL = 500
MOST_LABELS = 64


class Severity(StrEnum):
    """The severities of an alert, the lowest first. `info` needs nobody, `critical` needs somebody now."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return _RANKS[self]


# Asked thousands of times a turn, and to walk through the members takes microseconds each time.
_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class NotificationKind(StrEnum):
    """What a notification reports of its alert."""

    FIRING = "firing"
    # The alert still fires, and nobody has acknowledged it.
    REMINDER = "reminder"
    RESOLVED = "resolved"
    # A notification without an alert, to try a receiver.
    TEST = "test"


class NotificationState(StrEnum):
    """The state of a notification in the outbox."""

    PENDING = "pending"
    # A sender has begun to send it. If the sender ended before it wrote the outcome, the receiver may have it or not.
    SENDING = "sending"
    SENT = "sent"
    # Nobody tries any more.
    FAILED = "failed"


def read_severity(text: str) -> Severity:
    """Return the severity that a text names, in the words of airfleet or of others; WARNING for unknown words."""
    match text.strip().lower():
        case "critical" | "page" | "error" | "fatal" | "emergency":
            return Severity.CRITICAL
        case "info" | "information" | "informational" | "none" | "debug" | "notice":
            return Severity.INFO
        case _:
            return Severity.WARNING


def raise_alert(
    connection: Any,  # noqa: ANN401 - of psycopg or psycopg2
    *,
    fingerprint: str,
    source: str,
    name: str,
    severity: str,
    summary: str,
    description: str = "",
    labels: Mapping[str, str] | None = None,
    runbook: str = "",
    started_at: datetime | None = None,
    is_asserted: bool = False,
) -> int | None:
    """Open an alert, or update the open alert of this fingerprint; return its id.

    This is one statement in the connection's transaction, and may be repeated. A caller that knows when the condition
    began passes `started_at`. Then a late repetition, after the same episode was resolved, opens nothing and returns
    None. With `is_asserted`, the source says that the condition holds now. Then an episode begins again that a person
    or the agents ended; one whose end the source reported itself does not. Texts that are too long are cut; an unknown
    severity becomes `warning`.
    """
    cleaned = {_clean(key, LONGEST_LABEL): _clean(text, LONGEST_LABEL) for key, text in (labels or {}).items()}
    return _execute(
        connection,
        SQL["raise_alert"],
        fingerprint=_clean(fingerprint, LONGEST_SUMMARY),
        source=_clean(source, LONGEST_NAME),
        name=_clean(name, LONGEST_NAME),
        severity=read_severity(severity).value,
        summary=_clean(summary, LONGEST_SUMMARY),
        description=_clean(description, LONGEST_DESCRIPTION),
        labels=json.dumps(dict(sorted(cleaned.items())[:MOST_LABELS])),
        runbook=_clean(runbook, LONGEST_SUMMARY),
        started_at=started_at,
        is_asserted=is_asserted,
    )


def resolve_alert(connection: Any, fingerprint: str, *, ended_at: datetime | None = None) -> int | None:  # noqa: ANN401 - as above
    """Resolve the open alert of this fingerprint; return its id, or None if there is none.

    With `ended_at`, an alert that began later stays open. May be repeated, as `raise_alert`.
    """
    return _execute(
        connection, SQL["resolve_alert"], fingerprint=_clean(fingerprint, LONGEST_SUMMARY), ended_at=ended_at
    )


def end_alert(connection: Any, alert: int, *, ended_by: str, note: str) -> bool:  # noqa: ANN401 - as above
    """Resolve an alert whose source does not report its end; return whether it was open. `note` says why."""
    values = {"ended_by": _clean(ended_by, LONGEST_NAME), "note": _clean(note, LONGEST_SUMMARY)}
    return _execute(connection, SQL["end_alert"], id=alert, **values) is not None


def acknowledge(connection: Any, alert: int, *, actor: str, via: str, note: str = "") -> bool:  # noqa: ANN401 - as above
    """Record that somebody works on an alert, which ends its escalation; return whether there is such an alert."""
    values = {"actor": _clean(actor, LONGEST_NAME), "via": via, "note": _clean(note, LONGEST_SUMMARY)}
    return _execute(connection, SQL["acknowledge"], id=alert, **values) is not None


@dataclass(frozen=True, slots=True)
class AlertView:
    """What a page shows of an alert."""

    id: int
    name: str
    severity: str
    summary: str
    is_resolved: bool
    acknowledged_by: str | None


def read_alert(connection: Any, alert: int) -> AlertView | None:  # noqa: ANN401 - as above
    """Return an alert, or None if there is no such alert."""
    with connection.cursor() as cursor:
        cursor.execute(SQL["read_alert"], {"id": alert})
        row = cursor.fetchone()
    if row is None:
        return None
    return AlertView(**row) if isinstance(row, Mapping) else AlertView(*row)


def beat(connection: Any, name: str) -> None:  # noqa: ANN401 - as above
    """Record that a signal which must arrive regularly arrived now, and whether it had a gap before."""
    _execute(connection, SQL["beat"], name=name, gap=GAP_S)


def _clean(text: object, limit: int) -> str:
    """Return the text as PostgreSQL accepts it: without NUL, and without halves of characters."""
    shown = str(text).replace("\x00", "�").encode("utf-8", "replace").decode("utf-8")
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def _execute(connection: Any, statement: str, **values: object) -> int | None:  # noqa: ANN401 - as above
    """Return the id that the statement returns, if it returns a row. Rows may be tuples or dictionaries."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone() if cursor.description else None
    if row is None:
        return None
    return int(row["id"] if isinstance(row, Mapping) else row[0])
