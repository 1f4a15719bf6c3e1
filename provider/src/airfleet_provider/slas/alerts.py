"""The alert of a promise: there is one alert for each rule and subject, whatever number of instances is late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from airfleet_provider.contract.alert_schema import Severity
from airfleet_provider.contract.sla_rules import PromiseKind, PromiseState, SlaRule, describe_seconds
from airfleet_provider.slas.instances import Instance, InstanceKey, PromiseSubject, Transition

SOURCE, NAME = "sla", "SlaNotMet"
RUNBOOK = "guides/slas.md"
_RANK = {PromiseState.AT_RISK: 0, PromiseState.LATE: 1, PromiseState.MISSED: 2}

Promise = tuple[str, PromiseKind, PromiseSubject]


@dataclass(frozen=True, slots=True)
class RaisedAlert:
    """An alert as `alert_schema.raise_alert` takes it."""

    fingerprint: str
    name: str
    severity: str
    summary: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict)
    source: str = SOURCE
    runbook: str = RUNBOOK


@dataclass(frozen=True, slots=True)
class AlertChanges:
    """The alerts to raise, and the fingerprints of those to resolve."""

    raised: tuple[RaisedAlert, ...] = ()
    resolved: tuple[str, ...] = ()


def list_changes(
    rules: Iterable[SlaRule], instances: Iterable[Instance], transitions: Iterable[Transition], now: datetime
) -> AlertChanges:
    """Return what the transitions change in alerts. `instances` has those from before, as in `engine.evaluate`.

    An alert is raised again when the worst state of its promise changes, and resolved when no instance alerts.
    """
    by_name = {(rule.name, rule.kind): rule for rule in rules}
    before = {one.key: one for one in instances if one.is_alerting}
    after: dict[InstanceKey, Instance] = dict(before)
    changed: dict[Promise, None] = {}
    for one in transitions:
        changed[one.key.promise] = None
        if one.after is not None and one.after.is_alerting:
            after[one.key] = one.after
        else:
            after.pop(one.key, None)
    raised, resolved = [], []
    for promise in changed:
        worst_before, worst = _find_worst(before.values(), promise), _find_worst(after.values(), promise)
        rule = by_name.get(promise[:2])
        if worst is not None and rule is not None:
            if worst_before is None or (worst.key, worst.state) != (worst_before.key, worst_before.state):
                raised.append(describe(rule, worst, now))
        elif worst_before is not None:
            resolved.append(make_fingerprint(promise))
    return AlertChanges(tuple(raised), tuple(resolved))


def make_fingerprint(promise: Promise) -> str:
    """Return the identity of the alert of a promise."""
    rule, kind, subject = promise
    return f"sla:{rule}:{kind.value}:{subject.asset or subject.dag_id}:{subject.task_id}"


def describe(rule: SlaRule, instance: Instance, now: datetime) -> RaisedAlert:
    """Return the alert of an instance that alerts."""
    key = instance.key
    subject = key.subject
    due = show_moment(instance.due_at, rule)
    match instance.state:
        case PromiseState.AT_RISK if instance.expected_at and instance.expected_at > instance.due_at:
            late = describe_seconds((instance.expected_at - instance.due_at).total_seconds())
            what = f"is expected {late} late"
        case PromiseState.AT_RISK:
            what = "will not be in time"
        case PromiseState.LATE:
            what = f"is late since {due}"
        case _:
            what = "was missed"
    lines = [
        f"Promise: {rule.name}: {rule.describe()}.",
        f"Due: {due}." if rule.calendar.zone == "UTC" else f"Due: {due} ({instance.due_at:%Y-%m-%d %H:%M} UTC).",
        *([f"Expected: {show_moment(instance.expected_at, rule)}."] if instance.expected_at else []),
        *([f"Now: {instance.reason}."] if instance.reason else []),
        f"History: airfleet sla show {rule.name}",
    ]
    labels = {
        "rule": rule.name,
        "kind": key.kind.value,
        "state": instance.state.value,
        "dag_id": subject.dag_id,
        "task_id": subject.task_id,
        "asset": subject.asset,
        "run_id": instance.run_id or "",
    }
    is_warning = instance.state is PromiseState.AT_RISK
    return RaisedAlert(
        fingerprint=make_fingerprint(key.promise),
        name=NAME,
        severity=Severity.WARNING.value if is_warning else rule.severity,
        summary=f"{subject} {what}: {rule.name} ({rule.describe()})",
        description="\n".join(lines),
        labels={name: text for name, text in labels.items() if text},
    )


def show_moment(moment: datetime, rule: SlaRule) -> str:
    """Return a moment in the zone of a rule, with seconds only if it is not a whole minute."""
    local = moment.astimezone(ZoneInfo(rule.calendar.zone))
    shown = f"{local:%Y-%m-%d %H:%M:%S}" if local.second else f"{local:%Y-%m-%d %H:%M}"
    return f"{shown} {local.tzname()}"


def _find_worst(instances: Iterable[Instance], promise: Promise) -> Instance | None:
    own = [one for one in instances if one.key.promise == promise]
    return max(own, key=lambda one: (_RANK[one.state], one.due_at), default=None)
