"""Whether a release stays: the decision on what was seen."""

from __future__ import annotations

import pytest

from airfleet_provider.contract.release_policy import WatchPolicy
from airfleet_provider.releases import canary_rules
from airfleet_provider.releases.canary_rules import Evidence, TaskCounts, WatchAction, decide

POLICY = WatchPolicy(watch_seconds=300, max_failure_rate=0.25, min_task_ends=10)


def see(**changes: object) -> Evidence:
    return Evidence(**{"previous": "r1", "is_live": True, "remaining_s": 60.0, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "action", "said"),
    [
        (see(), WatchAction.WAIT, "no task ended so far"),
        (see(now={"a": TaskCounts(3, 1)}), WatchAction.WAIT, "3 task attempts ended, 1 of them failed so far"),
        (see(remaining_s=0), WatchAction.KEEP, "the release stays: in 300 s no task ended"),
        (
            see(remaining_s=-900, now={"a": TaskCounts(9, 0)}),
            WatchAction.KEEP,
            "9 task attempts ended, 0 of them failed",
        ),
        (
            see(broken=("dags/a.py",)),
            WatchAction.ROLL_BACK,
            "back to r1: dags/a.py has failed to load since the release went live",
        ),
        (see(broken=tuple("abcde")), WatchAction.ROLL_BACK, "a, b, c and 2 more have failed to load"),
        (see(orphans={"a": 1}), WatchAction.ROLL_BACK, "a is gone, and 1 of its runs never ended"),
        (see(orphans={"b": 2, "a": 1}), WatchAction.ROLL_BACK, "a, b are gone, and 3 of their runs never ended"),
        (see(now={"a": TaskCounts(9, 9)}), WatchAction.WAIT, "9 task attempts ended, 9 of them failed"),
        (see(now={"a": TaskCounts(10, 9)}), WatchAction.ROLL_BACK, "9 of 10 task attempts failed (90%), a first"),
        (
            see(now={"a": TaskCounts(8, 1), "b": TaskCounts(4, 4)}),
            WatchAction.ROLL_BACK,
            "b, a first; on the release before it was 0%",
        ),
        (see(now={"a": TaskCounts(12, 3)}), WatchAction.WAIT, "3 of them failed"),
        (see(now={"a": TaskCounts(10, 9)}, before={"a": TaskCounts(5, 4)}), WatchAction.WAIT, "9 of them failed"),
        (
            see(now={"a": TaskCounts(10, 6)}, before={"a": TaskCounts(10, 3)}),
            WatchAction.ROLL_BACK,
            "it was 30% for these Dags",
        ),
        (see(now={"new": TaskCounts(10, 6)}, before={"a": TaskCounts(10, 5)}), WatchAction.WAIT, "6 of them failed"),
        (see(remaining_s=-1, now={"a": TaskCounts(10, 9)}), WatchAction.ROLL_BACK, "9 of 10"),
        (
            see(is_live=False, broken=("a",), now={"a": TaskCounts(10, 9)}),
            WatchAction.LEAVE,
            "another release went live",
        ),
    ],
)
def test_the_verdict_and_its_sentence(seen: Evidence, action: WatchAction, said: str) -> None:
    found = decide(seen, POLICY)
    assert found.action is action
    assert said in found.sentence
    assert "\n" not in found.sentence


def test_a_failing_dag_that_alone_ran_counts_as_it_did_before() -> None:
    before = {"bad": TaskCounts(10, 10), "good": TaskCounts(990, 0)}
    assert canary_rules.expect({"bad": TaskCounts(4, 4)}, before) == 1.0
    assert canary_rules.expect({"good": TaskCounts(4, 4)}, before) == 0.0
    assert canary_rules.expect({"new": TaskCounts(4, 4)}, before) == pytest.approx(0.01)
    assert canary_rules.expect({}, before) == 0.0


def test_the_release_before_is_looked_at_only_when_enough_failed() -> None:
    assert not canary_rules.has_grounds({"a": TaskCounts(9, 9)}, POLICY)
    assert not canary_rules.has_grounds({"a": TaskCounts(100, 25)}, POLICY)
    assert canary_rules.has_grounds({"a": TaskCounts(100, 26)}, POLICY)
    assert not canary_rules.has_grounds({}, WatchPolicy(min_task_ends=0, max_failure_rate=0))


def test_a_policy_takes_what_it_knows_and_defaults_the_rest() -> None:
    assert WatchPolicy.read({"watch_seconds": 5, "keep": 3}) == WatchPolicy(watch_seconds=5)
    assert WatchPolicy.read({}) == WatchPolicy()
