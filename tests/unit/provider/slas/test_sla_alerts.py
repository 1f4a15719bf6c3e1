"""The alert of a promise: raised once for each worsening, resolved when nothing alerts any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from airfleet_provider.contract.sla_rules import PromiseKind, PromiseState, SlaRule
from airfleet_provider.slas.alerts import list_changes
from airfleet_provider.slas.instances import Instance, InstanceKey, PromiseSubject, Transition

NOW = datetime(2026, 3, 3, 6, tzinfo=UTC)
RULE = SlaRule("short", PromiseKind.NO_LONGER_THAN, dag=".*", limit_s=60)


def make(run: str, state: PromiseState, **changes: object) -> Instance:
    key = InstanceKey("short", PromiseKind.NO_LONGER_THAN, PromiseSubject("marts"), run)
    alerting = state in (PromiseState.AT_RISK, PromiseState.LATE)
    return replace(Instance(key, state, NOW, NOW, NOW, run, is_alerting=alerting), **changes)  # type: ignore[arg-type]


def test_a_warning_becomes_a_late_alert_of_the_same_fingerprint() -> None:
    due, risk = make("r1", PromiseState.DUE), make("r1", PromiseState.AT_RISK, expected_at=NOW + timedelta(minutes=12))
    late = make("r1", PromiseState.LATE)
    (warning,) = list_changes([RULE], [due], [Transition(due, risk)], NOW).raised
    assert (warning.severity, "is expected 12 min late" in warning.summary) == ("warning", True)
    (alert,) = list_changes([RULE], [risk], [Transition(risk, late)], NOW).raised
    assert (alert.severity, alert.fingerprint) == ("critical", warning.fingerprint)
    # The labels of all alerts about Dags and runs have the same names, and messages link to what they name.
    assert (alert.labels["dag_id"], alert.labels["run_id"]) == ("marts", "r1")


def test_a_changed_reason_raises_nothing_again() -> None:
    late = make("r1", PromiseState.LATE)
    changes = list_changes([RULE], [late], [Transition(late, replace(late, reason="other"))], NOW)
    assert (changes.raised, changes.resolved) == ((), ())


def test_an_alert_is_resolved_with_the_last_of_its_late_runs() -> None:
    first, second = make("r1", PromiseState.LATE), make("r2", PromiseState.LATE)
    ended = make("r1", PromiseState.MISSED)
    one = list_changes([RULE], [first, second], [Transition(first, ended)], NOW)
    assert one.resolved == ()
    both = list_changes([RULE], [first, second], [Transition(first, ended), Transition(second, None)], NOW)
    assert both.resolved == ("sla:short:no-longer-than:marts:",)


def test_a_promise_without_its_rule_alerts_no_more() -> None:
    late = make("r1", PromiseState.LATE)
    assert list_changes([], [late], [Transition(late, make("r1", PromiseState.MISSED))], NOW).resolved
