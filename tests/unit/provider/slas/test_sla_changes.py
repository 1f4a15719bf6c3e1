"""The SLA engine when something changes: rules, Dags, clocks, and a time in which it did not run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from airfleet_provider.contract.sla_rules import Calendar, PromiseKind, PromiseState, SlaRule
from airfleet_provider.slas.instances import InstanceKey, PromiseSubject
from promised_runs import BY_SIX, MARTS, MUST, PromisedPlatform, at, make_run


def test_successes_while_no_engine_ran_are_counted_one_by_one() -> None:
    platform = PromisedPlatform(MUST)
    platform.evaluate(at(3))
    platform.seen = replace(platform.seen, successes={("marts", ""): tuple(at(3, 50 * n) for n in range(1, 5))})
    platform.evaluate(at(3, 205))
    assert [one.state for one in platform.instances.values()].count(PromiseState.MET) == 4


def test_a_rule_that_is_removed_withdraws_its_promises() -> None:
    platform = PromisedPlatform(BY_SIX, MUST)
    platform.evaluate(at(3))
    platform.evaluate(at(6, 1))
    platform.rules = ()
    platform.evaluate(at(6, 2))
    assert all(one.ended_at and not one.is_alerting for one in platform.instances.values())
    assert PromiseState.DUE not in {one.state for one in platform.instances.values()}


def test_a_new_rule_and_a_new_dag_have_missed_nothing() -> None:
    platform = PromisedPlatform(BY_SIX)
    platform.seen = replace(platform.seen, rules_since={("marts", PromiseKind.FINISHED_BY): at(10)})
    platform.evaluate(at(10))
    assert platform.only.due_at == at(30)
    new = PromisedPlatform(BY_SIX, dags=(replace(MARTS, known_since=at(5)),))
    new.evaluate(at(5, 30))
    assert new.instances == {}, "it could not keep today's promise"


def test_deadlines_that_passed_while_no_engine_ran_are_evaluated() -> None:
    platform = PromisedPlatform(BY_SIX)
    platform.evaluate(at(-4))
    platform.have(make_run(start=at(3), end=at(5, 55)))
    platform.evaluate(at(9))
    states = {key.occasion: one.state for key, one in platform.instances.items()}
    assert states == {"2026-03-03": PromiseState.MET, "2026-03-04": PromiseState.DUE}


def test_the_deadline_is_local_on_the_day_when_clocks_change() -> None:
    rule = replace(BY_SIX, calendar=Calendar("Europe/Berlin"))
    platform = PromisedPlatform(rule)
    sunday = datetime(2026, 3, 29, tzinfo=UTC)
    platform.seen = replace(platform.seen, rules_since={("marts", PromiseKind.FINISHED_BY): sunday - timedelta(days=1)})
    platform.evaluate(sunday)
    assert platform.only.due_at == datetime(2026, 3, 29, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "after", "due"),
    [
        (BY_SIX, replace(BY_SIX, at=time(8)), at(8)),
        (BY_SIX, replace(BY_SIX, dag="another"), None),
        (MUST, replace(MUST, limit_s=86_400), at(24, 30)),
    ],
    ids=["deadline", "selector", "period"],
)
def test_a_rule_that_was_changed_owes_nothing_of_what_it_promised_before(
    before: SlaRule, after: SlaRule, due: datetime | None
) -> None:
    platform = PromisedPlatform(before)
    platform.evaluate(at(0))
    platform.rules = (after,)
    platform.seen = replace(platform.seen, rules_since={(after.name, after.kind): at(0, 30)})
    platform.evaluate(at(0, 30))
    platform.evaluate(at(6, 1))
    assert [(one.state, one.due_at) for one in platform.instances.values()] == (
        [(PromiseState.DUE, due)] if due else []
    )


def test_a_late_instance_of_a_rule_that_was_changed_is_missed_and_alerts_no_more() -> None:
    platform = PromisedPlatform(BY_SIX)
    platform.evaluate(at(1))
    platform.evaluate(at(6, 1))
    platform.rules = (replace(BY_SIX, at=time(8)),)
    platform.seen = replace(platform.seen, rules_since={(BY_SIX.name, BY_SIX.kind): at(7)})
    platform.evaluate(at(7))
    today = platform.instances[InstanceKey("marts", PromiseKind.FINISHED_BY, PromiseSubject("marts"), "2026-03-03")]
    assert (today.state, today.is_alerting) == (PromiseState.MISSED, False)


def test_of_many_missed_periods_only_the_last_alerts() -> None:
    paused = replace(MARTS, is_paused=True)
    platform = PromisedPlatform(MUST, dags=(paused,))
    for hour in range(50):
        platform.evaluate(at(hour, 1))
    missed = sorted(
        (one for one in platform.instances.values() if one.state is PromiseState.MISSED), key=lambda one: one.due_at
    )
    assert [one.is_alerting for one in missed] == [*[False] * (len(missed) - 1), True]
    platform.change(MARTS)
    platform.seen = replace(platform.seen, successes={("marts", ""): (at(50, 2),)})
    platform.evaluate(at(50, 3))
    assert not any(one.is_alerting for one in platform.instances.values())


def test_a_dag_that_left_the_release_is_told_of_for_one_period_and_then_no_more() -> None:
    """A Dag may leave by accident, so the promise that is open counts. Nothing could ever heal a later one."""
    rule = SlaRule("alive", PromiseKind.MUST_RUN, dag="marts", limit_s=3600)
    platform = PromisedPlatform(rule)
    platform.evaluate(at(0))
    platform.change(replace(MARTS, is_stale=True))
    platform.evaluate(at(1, 1))
    assert (platform.only.state, platform.only.is_alerting) == (PromiseState.LATE, True)
    platform.evaluate(at(2, 1))
    assert (platform.only.state, platform.only.is_alerting) == (PromiseState.MISSED, False)
    platform.evaluate(at(20))
    assert platform.only.state is PromiseState.MISSED, "no period follows"
    platform.change(MARTS)
    platform.evaluate(at(21))
    assert sorted(one.state for one in platform.instances.values()) == [PromiseState.DUE, PromiseState.MISSED]


def test_a_missed_day_alerts_no_more_once_its_dag_left_the_release() -> None:
    platform = PromisedPlatform(BY_SIX)
    platform.evaluate(at(1))
    platform.evaluate(at(30, 1))
    key = InstanceKey("marts", PromiseKind.FINISHED_BY, PromiseSubject("marts"), "2026-03-03")
    assert (platform.instances[key].state, platform.instances[key].is_alerting) == (PromiseState.MISSED, True)
    platform.change(replace(MARTS, is_stale=True))
    platform.evaluate(at(30, 2))
    assert not platform.instances[key].is_alerting
