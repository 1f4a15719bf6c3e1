"""The rules of SLAs: fleet.yaml describes them, the engine evaluates them, and `release check` finds their subjects.

A rule selects Dags, tasks or assets, and makes one promise about each of them (ADR 46).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Literal
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Severity = Literal["warning", "critical"]


class PromiseKind(StrEnum):
    """What a rule promises."""

    # The last run before a time of day has succeeded by then.
    FINISHED_BY = "finished-by"
    # A run, or a task in a run, ends within so many seconds of its start.
    NO_LONGER_THAN = "no-longer-than"
    # A run starts within so many seconds of its schedule, a task within so many seconds of being ready.
    STARTS_WITHIN = "starts-within"
    # An asset was updated by a time of day.
    FRESH_BY = "fresh-by"
    # A run succeeds at least once in so many seconds.
    MUST_RUN = "must-run"


# Kinds with one instance a day; the others have one for each run, or one after another.
DAILY = frozenset({PromiseKind.FINISHED_BY, PromiseKind.FRESH_BY})


class PromiseState(StrEnum):
    """The state of one instance of a rule."""

    DUE = "due"
    AT_RISK = "at-risk"
    LATE = "late"
    MISSED = "missed"
    MET = "met"


ENDED = frozenset({PromiseState.MISSED, PromiseState.MET})


@dataclass(frozen=True, slots=True)
class Calendar:
    """The local days on which a rule of a kind in DAILY applies. `days` counts from Monday, which is 0."""

    zone: str = "UTC"
    days: frozenset[int] = frozenset(range(7))
    holidays: frozenset[date] = frozenset()

    def applies(self, day: date) -> bool:
        """Return whether the rule applies on a local day."""
        return day.weekday() in self.days and day not in self.holidays

    def find_moment(self, day: date, at: time) -> datetime:
        """Return the moment of a local time, in UTC.

        When clocks go back, a time that comes twice means its first occurrence. When clocks go forward, a time that is
        skipped means the moment as long after the change as it would have been: 02:30 becomes 03:30.
        """
        return datetime.combine(day, at, ZoneInfo(self.zone)).astimezone(UTC)

    def find_day(self, moment: datetime) -> date:
        """Return the local day of a moment."""
        return moment.astimezone(ZoneInfo(self.zone)).date()


@dataclass(frozen=True, slots=True)
class SlaRule:
    """One promise about the Dags, tasks or assets that match. An expression must match a whole name; None matches all.

    `at` is the local time of a kind in DAILY, and `limit_s` the seconds of the other kinds. Runs and updates count from
    `since` on; None means from the time `at` of the day before.
    """

    name: str
    kind: PromiseKind
    dag: str | None = None
    tag: str | None = None
    owner: str | None = None
    task: str | None = None
    asset: str | None = None
    at: time | None = None
    limit_s: float | None = None
    since: time | None = None
    calendar: Calendar = field(default_factory=Calendar)
    severity: Severity = "critical"

    def matches_dag(self, dag_id: str, tags: Iterable[str], owners: Iterable[str]) -> bool:
        """Return whether the rule is about this Dag or about its tasks."""
        if self.kind is PromiseKind.FRESH_BY:
            return False
        return (
            _matches(self.dag, dag_id)
            and (self.tag is None or any(_matches(self.tag, one) for one in tags))
            and (self.owner is None or any(_matches(self.owner, one) for one in owners))
        )

    def matches_task(self, task_id: str) -> bool:
        """Return whether the rule is about this task of a Dag that matches."""
        return self.task is not None and _matches(self.task, task_id)

    def matches_asset(self, name: str, uri: str) -> bool:
        """Return whether the rule is about this asset."""
        return self.kind is PromiseKind.FRESH_BY and (_matches(self.asset, name) or _matches(self.asset, uri))

    def describe(self) -> str:
        """Return the promise in words, such as `finished by 06:00 Europe/Berlin`."""
        if self.at is not None:
            return f"{self.kind.value.replace('-', ' ')} {self.at:%H:%M} {self.calendar.zone}"
        words = {PromiseKind.MUST_RUN: "must succeed every", PromiseKind.STARTS_WITHIN: "starts within"}
        return f"{words.get(self.kind, 'no longer than')} {describe_seconds(self.limit_s or 0)}"

    def find_due(self, day: date) -> datetime:
        """Return the deadline of a local day, of a kind in DAILY."""
        return self.calendar.find_moment(day, self._local)

    def find_start(self, day: date) -> datetime:
        """Return the moment from which runs and updates count for a local day, of a kind in DAILY."""
        since = self.since or self._local
        before = since >= self._local
        return self.calendar.find_moment(day - timedelta(days=1) if before else day, since)

    @property
    def _local(self) -> time:
        if self.at is None:
            raise ValueError(f"a rule of the kind {self.kind} has no time of day")
        return self.at

    def to_json(self) -> dict[str, Any]:
        """Return the rule as plain data; `from_json` reads it."""
        texts = {
            key: getattr(self, key)
            for key in ("name", "kind", "dag", "tag", "owner", "task", "asset", "limit_s", "severity")
        }
        return {
            **{key: value for key, value in texts.items() if value is not None},
            **{key: value.isoformat("minutes") for key in ("at", "since") if (value := getattr(self, key))},
            "zone": self.calendar.zone,
            "days": [DAYS[one] for one in sorted(self.calendar.days)],
            "holidays": sorted(one.isoformat() for one in self.calendar.holidays),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SlaRule:
        """Return the rule that `to_json` wrote."""
        texts = {key: data.get(key) for key in ("dag", "tag", "owner", "task", "asset", "limit_s")}
        return cls(
            name=data["name"],
            kind=PromiseKind(data["kind"]),
            **texts,
            at=time.fromisoformat(data["at"]) if "at" in data else None,
            since=time.fromisoformat(data["since"]) if "since" in data else None,
            calendar=Calendar(
                data["zone"],
                frozenset(DAYS.index(one) for one in data["days"]),
                frozenset(date.fromisoformat(one) for one in data["holidays"]),
            ),
            severity=data["severity"],
        )


def describe_seconds(seconds: float) -> str:
    """Return a duration with its two largest units, such as `1 h 12 min`."""
    left = round(abs(seconds))
    words = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words[:2]) or "0 s"


def _matches(pattern: str | None, text: str) -> bool:
    return pattern is None or re.fullmatch(pattern, text) is not None
