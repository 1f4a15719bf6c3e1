"""The reports of Alertmanager: its webhook's JSON, as alerts in the database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection

from airfleet_provider.contract import alert_schema

SOURCE = "prometheus"
# The alert that always fires, so that its absence shows that the monitoring is silent.
WATCHDOG_NAME = "Watchdog"
# Labels that Prometheus adds and that say nothing of the alert.
_DROPPED_LABELS = frozenset({"alertname", "severity"})


@dataclass(frozen=True, slots=True)
class AlertReport:
    """What Alertmanager says of one alert."""

    fingerprint: str
    name: str
    is_firing: bool
    severity: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    started_at: datetime
    ended_at: datetime | None

    @property
    def description(self) -> str:
        """Return what is wrong, what the likely causes are, and which command to type first."""
        said = self.annotations
        parts = (
            said.get("description", ""),
            f"Likely causes: {said['causes'].strip()}." if said.get("causes") else "",
            f"First command: {said['first_command']}" if said.get("first_command") else "",
        )
        return "\n".join(filter(None, parts))

    @property
    def runbook(self) -> str:
        """Return the address of the page about the alert: a URL, or a path in airfleet's documentation."""
        return self.annotations.get("runbook_url") or self.annotations.get("runbook", "")


def parse(body: bytes) -> tuple[AlertReport, ...]:
    """Return the reports in the body of a request.

    Raises:
        ValueError: It is not what Alertmanager sends.
    """
    try:
        alerts = json.loads(body)["alerts"]
        # In the order of the fingerprints, so that two requests at once do not wait for each other in a circle.
        return tuple(sorted((_read(one) for one in alerts), key=lambda one: (one.fingerprint, one.started_at)))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a report of Alertmanager: {type(error).__name__}: {error}") from None


def record(connection: Connection[Any], reports: tuple[AlertReport, ...]) -> None:
    """Write the reports. May be repeated: Alertmanager repeats what it is not sure of, and may run as a pair."""
    for one in reports:
        if one.name == WATCHDOG_NAME:
            if one.is_firing:
                alert_schema.beat(connection, alert_schema.WATCHDOG)
            continue
        # An alert that resolved while nobody answered here is reported once, as resolved: it is opened first.
        alert_schema.raise_alert(
            connection,
            fingerprint=one.fingerprint,
            source=SOURCE,
            name=one.name,
            severity=one.severity,
            summary=one.annotations.get("summary") or one.name,
            description=one.description,
            labels={key: text for key, text in one.labels.items() if key not in _DROPPED_LABELS},
            runbook=one.runbook,
            started_at=one.started_at,
            # Alertmanager repeats what fires. So an alert that was ended here by mistake begins again.
            is_asserted=one.is_firing,
        )
        if not one.is_firing:
            alert_schema.resolve_alert(connection, one.fingerprint, ended_at=one.ended_at)


def _read(one: Mapping[str, Any]) -> AlertReport:
    labels = {str(key): str(text) for key, text in one["labels"].items()}
    is_firing = one["status"] == "firing"
    return AlertReport(
        fingerprint=f"{SOURCE}:{one['fingerprint']}",
        name=labels["alertname"],
        is_firing=is_firing,
        severity=labels.get("severity", ""),
        labels=labels,
        annotations={str(key): str(text) for key, text in one.get("annotations", {}).items()},
        started_at=_read_moment(one["startsAt"]),
        ended_at=None if is_firing else _read_moment(one["endsAt"]),
    )


def _read_moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a moment without a time zone: {text}")
    return moment
