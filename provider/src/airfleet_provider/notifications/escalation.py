"""Decide which notifications an alert needs now. Everything here is pure, so time and outages can be played through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from airfleet_provider.contract.alert_schema import NotificationKind, Severity
from airfleet_provider.contract.notification_policy import EscalationRule, Matcher, NotificationPolicy, QuietHours


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert as it is in the database. `severity_at` is when its severity last rose."""

    id: int
    source: str
    name: str
    severity: Severity
    labels: Mapping[str, str]
    severity_at: datetime
    resolved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody has said at this moment that they work on an alert."""

    alert: int
    at: datetime


@dataclass(frozen=True, slots=True)
class ActiveSilence:
    """Alerts that fit start no notification from the first moment to the second."""

    matcher: Matcher
    starts_at: datetime
    ends_at: datetime

    def hides(self, alert: OpenAlert, now: datetime) -> bool:
        """Return whether the silence holds now for an alert."""
        return self.starts_at <= now < self.ends_at and self.matcher.fits(
            source=alert.source, name=alert.name, severity=alert.severity, labels=alert.labels
        )


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification to one receiver. The key is the same however often the notification is decided.

    It may be sent from `due_at` on. `chain` is the alert at one severity, and `round` and `step` are its place in the
    steps of the rule.
    """

    alert: int
    receiver: str
    kind: NotificationKind
    due_at: datetime
    chain: int
    round: int = 0
    step: int = 0

    @property
    def key(self) -> str:
        place = "resolved" if self.kind is NotificationKind.RESOLVED else f"{self.round}.{self.step}"
        return f"{self.alert}.{self.chain}.{place}.{self.receiver}"


@dataclass(frozen=True, slots=True)
class _Case:
    """What is known of one alert when it is decided."""

    alert: OpenAlert
    rule: EscalationRule
    is_acknowledged: bool
    is_silenced: bool
    written: Sequence[Notification]
    now: datetime

    @property
    def chain(self) -> int:
        return int(self.alert.severity_at.timestamp() * 1e6)

    def find_due(self) -> datetime:
        return find_due(self.rule.quiet_hours, self.alert.severity, self.now)


def decide(
    alerts: Iterable[OpenAlert],
    acknowledgements: Iterable[Acknowledgement],
    silences: Sequence[ActiveSilence],
    written: Iterable[Notification],
    policy: NotificationPolicy,
    now: datetime,
) -> tuple[Notification, ...]:
    """Return the notifications that the alerts need and that are not written yet.

    `written` holds the earlier notifications of these alerts. The rules:

    - The steps of a rule follow each other, each so long after the step before it was due. They stop when the alert is
      acknowledged or resolved. An alert that was resolved before anybody was notified is still reported.
    - A higher severity begins the steps again, and no earlier acknowledgement counts.
    - A silenced alert begins no step. Who was notified before is notified of the end.
    - In quiet hours, an alert below the rule's severity waits for their end.
    """
    acknowledged: dict[int, datetime] = {}
    for one in acknowledgements:
        acknowledged[one.alert] = max(one.at, acknowledged.get(one.alert, one.at))
    earlier: dict[int, list[Notification]] = {}
    for notification in written:
        earlier.setdefault(notification.alert, []).append(notification)
    found: list[Notification] = []
    for alert in alerts:
        case = _Case(
            alert=alert,
            rule=policy.find_rule(source=alert.source, name=alert.name, severity=alert.severity, labels=alert.labels),
            is_acknowledged=alert.id in acknowledged and acknowledged[alert.id] >= alert.severity_at,
            is_silenced=any(one.hides(alert, now) for one in silences),
            written=earlier.get(alert.id, ()),
            now=now,
        )
        begun = tuple(_begin_steps(case, policy))
        found += begun
        if alert.resolved_at is not None:
            found += _report_end(case, (*case.written, *begun), policy)
    return tuple(found)


def find_due(quiet: QuietHours | None, severity: Severity, now: datetime) -> datetime:
    """Return when a notification may be sent: now, or at the end of the quiet hours for a severity below theirs."""
    if quiet is None or severity.rank >= quiet.severity.rank:
        return now
    local = now.astimezone(ZoneInfo(quiet.zone))
    begin, end = time.fromisoformat(quiet.begin), time.fromisoformat(quiet.end)
    clock = local.time()
    if not (begin <= clock < end if begin < end else clock >= begin or clock < end):
        return now
    day = local.date() if clock < end else local.date() + timedelta(days=1)
    # The zone gives the moment its offset of that day: quiet hours end by the clock on the wall.
    return max(now, datetime.combine(day, end, ZoneInfo(quiet.zone)).astimezone(UTC))


def _begin_steps(case: _Case, policy: NotificationPolicy) -> Iterator[Notification]:
    """Yield the notifications of the step that begins now, if one does."""
    own = [one for one in case.written if one.chain == case.chain and one.kind is not NotificationKind.RESOLVED]
    is_over = case.alert.resolved_at is not None
    if case.is_silenced or case.is_acknowledged or not case.rule.steps or (is_over and case.written):
        return
    place = _find_next(own, case.rule, case.now)
    if place is None:
        return
    round_number, number = place
    kind = NotificationKind.REMINDER if round_number else NotificationKind.FIRING
    known = policy.by_name
    due = case.find_due()
    for receiver in dict.fromkeys(case.rule.steps[number].receivers):
        if receiver in known:
            yield Notification(case.alert.id, receiver, kind, due, case.chain, round_number, number)


def _find_next(own: Sequence[Notification], rule: EscalationRule, now: datetime) -> tuple[int, int] | None:
    """Return the round and the step that begin now, or None."""
    if not own:
        return 0, 0
    last_round, last_step = max((one.round, one.step) for one in own)
    last_due = max(one.due_at for one in own if (one.round, one.step) == (last_round, last_step))
    if last_step + 1 < len(rule.steps):
        wait, following = rule.steps[last_step + 1].after_s, (last_round, last_step + 1)
    elif rule.repeat_s:
        wait, following = rule.repeat_s, (last_round + 1, 0)
    else:
        return None
    return following if last_due + timedelta(seconds=wait) <= now else None


def _report_end(case: _Case, written: Iterable[Notification], policy: NotificationPolicy) -> Iterator[Notification]:
    """Yield a notification of the end for each receiver that was notified of the alert and is not yet of its end."""
    informed = {one.receiver for one in written if one.kind is NotificationKind.RESOLVED}
    due = case.find_due()
    for receiver, _ in groupby(sorted(one.receiver for one in written)):
        known = policy.by_name.get(receiver)
        if known is not None and known.send_resolved and receiver not in informed:
            yield Notification(case.alert.id, receiver, NotificationKind.RESOLVED, due, case.chain)
