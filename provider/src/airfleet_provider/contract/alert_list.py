"""The alerts and silences of a platform, as `airfleet alerts list` and the pages in Airflow's UI show them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from airfleet_provider.contract.alert_schema import Severity
from airfleet_provider.contract.explanation.reading import Query
from airfleet_provider.contract.notification_policy import Matcher, read_matcher
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "alert_list")

# Labels that differ between one alert and the next about the same. That of an SLA also says how late it is.
PASSING = frozenset({"run_id", "number"})
PASSING_OF_SLAS = frozenset({"state"})


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert. `notified` has, for each receiver, how many notifications were sent, wait and failed."""

    id: int
    severity: str
    name: str
    source: str
    summary: str
    labels: Mapping[str, str]
    runbook: str
    started_at: datetime
    resolved_at: datetime | None
    acknowledged_by: str | None
    notified: Mapping[str, Mapping[str, Any]]
    silenced_by: int | None
    # Who ended it and why, if its source did not.
    ended_by: str = ""
    end_note: str = ""

    @property
    def state(self) -> str:
        """Return the state in one or a few words."""
        if self.resolved_at is not None:
            return f"ended by {self.ended_by}: {self.end_note}" if self.ended_by else "resolved"
        if self.acknowledged_by is not None:
            return f"acknowledged by {self.acknowledged_by}"
        return f"silenced by {self.silenced_by}" if self.silenced_by is not None else "firing"


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that fit start no notification before `ends_at`."""

    id: int
    matcher: Matcher
    actor: str
    comment: str
    starts_at: datetime
    ends_at: datetime


def list_alerts(query: Query, *, with_resolved: bool) -> tuple[Alert, ...]:
    """Return the open alerts, the most severe first, and those that resolved in the last day if they are wanted."""
    silences = list_silences(query)
    rows = query(SQL["list"], {"all": with_resolved})
    return tuple(Alert(**row, silenced_by=_find_silence(row, silences)) for row in rows)


def list_silences(query: Query) -> tuple[Silence, ...]:
    """Return the silences that have not ended."""
    return tuple(
        Silence(
            row["id"], read_matcher(row["matchers"]), row["actor"], row["comment"], row["starts_at"], row["ends_at"]
        )
        for row in query(SQL["silences"], {})
    )


def match_alert(query: Query, alert: int) -> Matcher | None:
    """Return a matcher for the alerts with the name and the labels of this one, or None if there is no such alert."""
    rows = query(SQL["find"], {"id": alert})
    if not rows:
        return None
    passing = PASSING | (PASSING_OF_SLAS if rows[0]["source"] == "sla" else frozenset())
    labels = {key: re.escape(text) for key, text in rows[0]["labels"].items() if key not in passing}
    return Matcher(re.escape(rows[0]["source"]), re.escape(rows[0]["name"]), Severity.INFO, labels)


def silence(query: Query, matcher: Matcher, seconds: float, *, actor: str, comment: str) -> int:
    """Silence the alerts that fit for so long, and return the id of the silence."""
    values = {"matchers": json.dumps(asdict(matcher)), "actor": actor, "comment": comment, "seconds": seconds}
    (row,) = query(SQL["silence"], values)
    return int(row["id"])


def end_silence(query: Query, number: int) -> bool:
    """End a silence now; return whether there was one that had not ended."""
    return bool(query(SQL["end_silence"], {"id": number}))


def _find_silence(row: Mapping[str, Any], silences: Sequence[Silence]) -> int | None:
    return next(
        (
            one.id
            for one in silences
            if one.matcher.fits(
                source=row["source"], name=row["name"], severity=Severity(row["severity"]), labels=row["labels"]
            )
        ),
        None,
    )
