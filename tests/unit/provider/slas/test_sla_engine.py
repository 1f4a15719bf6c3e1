"""The SLA engine: what each kind of promise becomes as time passes."""

from __future__ import annotations

from dataclasses import replace
from datetime import time

from airfleet_provider.contract.sla_rules import PromiseKind, PromiseState, SlaRule
from airfleet_provider.slas.instances import InstanceKey, PromiseSubject
from airfleet_provider.slas.observations import Asset, Task
from airfleet_provider.slas.prediction import Profile, TaskProfile
from promised_runs import BY_SIX, MARTS, MUST, PROFILE, WAITING, PromisedPlatform, at, done, make_run, working


def test_a_run_in_time_meets_the_promise() -> None:
    platform = PromisedPlatform(BY_SIX)
    platform.evaluate(at(1))
    assert (platform.only.state, platform.only.due_at) == (PromiseState.DUE, at(6))
    platform.have(make_run(start=at(3), end=at(4)))
    platform.evaluate(at(4, 1))
    assert (platform.only.state, platform.only.fulfilled_at) == (PromiseState.MET, at(4))
    platform.evaluate(at(6, 1))
    assert sorted(one.state for one in platform.instances.values()) == [PromiseState.DUE, PromiseState.MET], (
        "the next day is open"
    )


def test_a_late_run_is_late_while_it_runs_and_missed_when_it_ends() -> None:
    platform = PromisedPlatform(BY_SIX)
    platform.evaluate(at(1))
    platform.have(make_run(start=at(3)))
    platform.evaluate(at(5, 59))
    platform.evaluate(at(6, 0, 2))
    key = InstanceKey("marts", PromiseKind.FINISHED_BY, PromiseSubject("marts"), "2026-03-03")
    assert platform.instances[key].state is PromiseState.DUE, (
        "a run that ended at the last moment is seen a moment later"
    )
    platform.evaluate(at(6, 0, 4))
    late = platform.instances[key]
    assert (late.state, late.is_alerting) == (PromiseState.LATE, True)
    platform.have(make_run(start=at(3), end=at(6, 23)))
    platform.evaluate(at(6, 24))
    missed = platform.instances[late.key]
    assert (missed.state, missed.fulfilled_at, missed.is_alerting) == (PromiseState.MISSED, at(6, 23), False)


def test_nobody_ran_it() -> None:
    platform = PromisedPlatform(BY_SIX, dags=(replace(MARTS, next_run=None, is_paused=True),))
    platform.evaluate(at(1))
    platform.evaluate(at(6, 1))
    key = InstanceKey("marts", PromiseKind.FINISHED_BY, PromiseSubject("marts"), "2026-03-03")
    assert "the Dag is paused" in platform.instances[key].reason
    platform.evaluate(at(30, 1))
    assert (platform.instances[key].state, platform.instances[key].is_alerting) == (PromiseState.MISSED, True)
    next_key = replace(key, occasion="2026-03-05")
    platform.have(make_run("r3", due=at(33), start=at(33), end=at(34)))
    platform.evaluate(at(34, 1))
    assert not platform.instances[key].is_alerting, "a later success heals it"
    assert platform.instances[next_key].state is PromiseState.MET


def test_an_earlier_run_of_the_day_does_not_stand_for_the_last_one() -> None:
    platform = PromisedPlatform(BY_SIX, dags=(replace(MARTS, next_run=at(5)),))
    platform.have(make_run("r4", due=at(4), start=at(4), end=at(4, 10)))
    platform.evaluate(at(4, 30))
    assert platform.only.state is PromiseState.DUE
    platform.have(*platform.seen.runs.values(), make_run("r5", due=at(5), start=at(5), state="failed", end=at(5, 1)))
    platform.change(replace(MARTS, next_run=at(29)))
    platform.evaluate(at(5, 2))
    assert (platform.only.state, platform.only.reason) == (PromiseState.AT_RISK, "the last run failed: r5")
    platform.have(
        *platform.seen.runs.values(), make_run("hand", due=at(5, 5), start=at(5, 5), kind="manual", end=at(5, 30))
    )
    platform.evaluate(at(5, 31))
    assert (platform.only.state, platform.only.fulfilled_at) == (PromiseState.MET, at(5, 30))


def test_a_backfill_keeps_no_promise() -> None:
    platform = PromisedPlatform(BY_SIX)
    platform.have(make_run(start=at(3), end=at(4), kind="backfill"))
    platform.evaluate(at(4, 1))
    assert platform.only.state is PromiseState.DUE


def test_lateness_is_predicted_with_the_task_that_causes_it() -> None:
    platform = PromisedPlatform(BY_SIX)
    platform.seen = replace(platform.seen, profiles={"marts": PROFILE})
    platform.have(make_run(due=at(4), start=at(5, 30), load=working(at(5, 30)), publish=WAITING))
    platform.evaluate(at(5, 31))
    assert (platform.only.state, platform.only.expected_at) == (PromiseState.AT_RISK, at(6, 30))
    assert "load" in platform.only.reason
    assert platform.only.is_alerting


def test_without_a_run_it_is_at_risk_when_a_run_would_end_too_late() -> None:
    platform = PromisedPlatform(BY_SIX, dags=(replace(MARTS, next_run=None),))
    platform.seen = replace(platform.seen, profiles={"marts": PROFILE})
    platform.evaluate(at(4, 59))
    assert platform.only.state is PromiseState.DUE
    platform.evaluate(at(5, 1))
    assert platform.only.state is PromiseState.AT_RISK


def test_a_prediction_that_wavers_changes_nothing() -> None:
    platform = PromisedPlatform(BY_SIX)
    for minute in range(40):
        wavering = 1 if minute % 2 else -1
        tasks = {"load": TaskProfile(3600 + wavering, 0, 0)}
        platform.seen = replace(platform.seen, profiles={"marts": Profile(3600, 9, tasks)})
        platform.have(make_run(start=at(5), load=working(at(5))))
        platform.evaluate(at(5, minute))
    assert platform.log == [("-", "due"), ("due", "at-risk")]


def test_a_run_that_catches_up_heals_the_warning() -> None:
    platform = PromisedPlatform(BY_SIX)
    platform.seen = replace(platform.seen, profiles={"marts": PROFILE})
    platform.have(make_run(start=at(5, 10), load=working(at(5, 10)), publish=WAITING))
    platform.evaluate(at(5, 11))
    assert platform.only.state is PromiseState.AT_RISK
    platform.have(make_run(start=at(5, 10), load=done(at(5, 10), at(5, 15)), publish=working(at(5, 15))))
    platform.evaluate(at(5, 16))
    assert platform.only.state is PromiseState.AT_RISK, "not at once"
    platform.evaluate(at(5, 22))
    assert (platform.only.state, platform.only.is_alerting) == (PromiseState.DUE, False)


def test_a_task_by_a_time() -> None:
    platform = PromisedPlatform(replace(BY_SIX, task="load"))
    platform.have(make_run(start=at(3), load=done(at(3), at(4)), publish=working(at(4))))
    platform.evaluate(at(5))
    assert (platform.only.key.subject, platform.only.state) == (PromiseSubject("marts", "load"), PromiseState.MET)


def test_a_run_longer_than_promised() -> None:
    platform = PromisedPlatform(SlaRule("short", PromiseKind.NO_LONGER_THAN, dag="marts", limit_s=3600))
    platform.have(make_run(start=at(3)))
    platform.evaluate(at(3, 1))
    platform.evaluate(at(4, 1))
    assert (platform.only.state, platform.only.due_at) == (PromiseState.LATE, at(4))
    platform.have(make_run(start=at(3), end=at(4, 30), state="failed"))
    platform.evaluate(at(4, 31))
    assert (platform.only.state, platform.only.is_alerting) == (PromiseState.MISSED, False)


def test_a_short_run_that_nobody_saw_running_counts_too() -> None:
    platform = PromisedPlatform(SlaRule("short", PromiseKind.NO_LONGER_THAN, dag="marts", limit_s=3600))
    platform.evaluate(at(3))
    platform.have(make_run(start=at(3), end=at(3, 0, 2)))
    platform.evaluate(at(3, 0, 10))
    assert platform.only.state is PromiseState.MET
    platform.evaluate(at(3, 0, 20))
    assert platform.log == [("-", "met")]


def test_a_run_that_is_deleted_owes_nothing() -> None:
    platform = PromisedPlatform(SlaRule("short", PromiseKind.NO_LONGER_THAN, dag="marts", limit_s=3600))
    platform.have(make_run(start=at(3)))
    platform.evaluate(at(3, 1))
    platform.have()
    platform.evaluate(at(3, 2))
    assert platform.instances == {}


def test_a_cleared_run_does_not_begin_its_ended_promise_again() -> None:
    platform = PromisedPlatform(SlaRule("short", PromiseKind.NO_LONGER_THAN, dag="marts", limit_s=3600))
    key = InstanceKey("short", PromiseKind.NO_LONGER_THAN, PromiseSubject("marts"), "r1")
    platform.seen = replace(platform.seen, closed=frozenset({key}))
    platform.have(make_run(start=at(3)))
    platform.evaluate(at(5))
    assert platform.instances == {}


def test_a_mapped_task_is_as_long_as_all_its_instances() -> None:
    platform = PromisedPlatform(SlaRule("short", PromiseKind.NO_LONGER_THAN, dag="marts", task="load", limit_s=600))
    some = Task({"success": 3, "running": 1}, at(3), at(3), at(3, 5))
    platform.have(make_run(start=at(3), load=some))
    platform.evaluate(at(3, 6))
    assert platform.only.state is PromiseState.DUE
    platform.have(make_run(start=at(3), load=replace(some, states={"success": 4}, ended_at=at(3, 9))))
    platform.evaluate(at(3, 10))
    assert platform.only.state is PromiseState.MET


STARTS = SlaRule("prompt", PromiseKind.STARTS_WITHIN, dag="marts", limit_s=300)


def test_a_run_that_should_have_been_made_and_was_not_is_late() -> None:
    platform = PromisedPlatform(STARTS, dags=(replace(MARTS, next_run=at(3)),))
    platform.evaluate(at(2))
    assert platform.instances == {}
    platform.evaluate(at(3, 1))
    platform.evaluate(at(3, 6))
    assert platform.only.state is PromiseState.LATE
    assert "the scheduler has not made the run of 03:00 UTC" in platform.only.reason
    platform.change(MARTS)
    platform.have(make_run(start=at(3, 7)))
    platform.evaluate(at(3, 8))
    assert (platform.only.state, "no task has started" in platform.only.reason) == (PromiseState.LATE, True)
    platform.have(make_run(start=at(3, 7), load=working(at(3, 9))))
    platform.evaluate(at(3, 10))
    assert (platform.only.state, platform.only.fulfilled_at) == (PromiseState.MISSED, at(3, 9))


def test_a_period_before_the_next_run_says_when_it_comes() -> None:
    platform = PromisedPlatform(
        SlaRule("alive", PromiseKind.MUST_RUN, dag="marts", limit_s=3600), dags=(replace(MARTS, next_run=at(4)),)
    )
    platform.evaluate(at(3))
    platform.evaluate(at(3, 30))
    assert platform.only.reason == "the next run is at 04:00 UTC"


def test_a_paused_dag_starts_no_new_promise_to_start() -> None:
    platform = PromisedPlatform(STARTS, dags=(replace(MARTS, next_run=at(3), is_paused=True),))
    platform.evaluate(at(3, 10))
    assert platform.instances == {}


def test_a_task_starts_within_a_time_of_being_ready() -> None:
    platform = PromisedPlatform(replace(STARTS, task="load"))
    platform.have(make_run(start=at(3), load=Task({"queued": 1}, at(3))))
    platform.evaluate(at(3, 1))
    platform.evaluate(at(3, 6))
    assert platform.only.state is PromiseState.LATE


def test_an_asset_that_is_not_fresh() -> None:
    rule = SlaRule("fresh", PromiseKind.FRESH_BY, asset="sales", at=time(7))
    platform = PromisedPlatform(rule)
    # The run of yesterday made its update after yesterday's deadline: it is none of today's.
    yesterday = (at(-16.5), at(-20))
    platform.seen = replace(platform.seen, assets={"sales": Asset("sales", "s3://sales", updates=(yesterday,))})
    platform.evaluate(at(1))
    assert platform.only.state is PromiseState.DUE
    platform.evaluate(at(7, 1))
    late = platform.instances[InstanceKey("fresh", PromiseKind.FRESH_BY, PromiseSubject(asset="sales"), "2026-03-03")]
    assert late.state is PromiseState.LATE
    updates = (yesterday, (at(7, 30), at(4)))
    platform.seen = replace(platform.seen, assets={"sales": Asset("sales", "s3://sales", updates=updates)})
    platform.evaluate(at(7, 31))
    assert platform.instances[late.key].fulfilled_at == at(7, 30)


def test_each_period_without_a_success_is_missed_once_and_a_success_begins_a_new_one() -> None:
    platform = PromisedPlatform(MUST)
    platform.evaluate(at(3))
    platform.evaluate(at(4, 1))
    assert platform.only.state is PromiseState.LATE
    platform.evaluate(at(5, 1))
    assert sorted(one.state for one in platform.instances.values()) == [PromiseState.LATE, PromiseState.MISSED]
    platform.seen = replace(platform.seen, successes={("marts", ""): (at(5, 30),)})
    platform.evaluate(at(5, 31))
    states = {one.starts_at: one.state for one in platform.instances.values()}
    assert states == {at(3): PromiseState.MISSED, at(4): PromiseState.MISSED, at(5, 30): PromiseState.DUE}
    assert not any(one.is_alerting for one in platform.instances.values())
