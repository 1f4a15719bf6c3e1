"""Alerts for tests of what is sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from airfleet_provider.contract.alert_schema import NotificationKind, Severity
from airfleet_provider.notifications.messages import MessageEntry

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def make_entry(number: int = 1, kind: NotificationKind = NotificationKind.FIRING, **changes: object) -> MessageEntry:
    entry = MessageEntry(
        notification=number,
        key=f"{number}.1.0.0.team",
        kind=kind,
        message=f"{number}.1.0.0.team",
        attempts=1,
        alert=number,
        created_at=NOON,
        fingerprint="disk:web1",
        source="prometheus",
        name="DiskFull",
        severity=Severity.CRITICAL,
        summary="web1: 95 % full",
        description="The disk of web1 is full.\nRemove logs.",
        labels={"host": "web1"},
        runbook="https://example.com/disk",
        started_at=NOON - timedelta(minutes=2),
        raised_at=NOON,
        resolved_at=None,
    )
    return replace(entry, **changes)  # type: ignore[arg-type]
