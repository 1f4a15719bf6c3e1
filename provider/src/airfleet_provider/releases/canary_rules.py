"""Whether a release stays live: a pure decision over what was observed since it went live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from airfleet_provider.contract import release_archive
from airfleet_provider.contract.release_policy import WatchPolicy

NAMED = 3


class WatchAction(Enum):
    """What to do about a watched release."""

    WAIT = "wait"
    KEEP = "keep"
    ROLL_BACK = "roll back"
    # Another release is live: there is nothing to decide.
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """How many attempts of a Dag's tasks ended, and how many of them failed."""

    ended: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        return self.failed / self.ended if self.ended else 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """The observations of a release at one moment.

    `now` counts the task attempts by Dag on this release, `before` those on the release before it.
    """

    previous: str
    is_live: bool
    remaining_s: float
    broken: tuple[str, ...] = ()
    orphans: Mapping[str, int] = field(default_factory=dict)
    now: Mapping[str, TaskCounts] = field(default_factory=dict)
    before: Mapping[str, TaskCounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WatchVerdict:
    """The decision about a watched release, and one sentence with its reason."""

    action: WatchAction
    sentence: str


def decide(seen: Evidence, policy: WatchPolicy) -> WatchVerdict:
    """Decide to keep the release, to wait or to roll back; leave a release that is not live any more alone."""
    if not seen.is_live:
        return WatchVerdict(WatchAction.LEAVE, "another release went live before the watch was over")
    if seen.broken:
        verb = "has" if len(seen.broken) == 1 else "have"
        return _go_back(seen, f"{_name(seen.broken)} {verb} failed to load since the release went live")
    if seen.orphans:
        verb, whose = ("is", "its") if len(seen.orphans) == 1 else ("are", "their")
        count = sum(seen.orphans.values())
        return _go_back(seen, f"{_name(sorted(seen.orphans))} {verb} gone, and {count} of {whose} runs never ended")
    total = add_up(seen.now.values())
    if has_grounds(seen.now, policy):
        expected = expect(seen.now, seen.before)
        if total.rate - expected > policy.max_failure_rate:
            worst = sorted(
                (dag for dag in seen.now if seen.now[dag].failed), key=lambda dag: (-seen.now[dag].failed, dag)
            )
            said = f"{total.failed} of {total.ended} task attempts failed ({total.rate:.0%}), {_name(worst)} first"
            return _go_back(seen, f"{said}; on the release before it was {expected:.0%} for these Dags")
    ran = f"{total.ended} task attempts ended, {total.failed} of them failed" if total.ended else "no task ended"
    if seen.remaining_s > 0:
        return WatchVerdict(WatchAction.WAIT, f"{ran} so far")
    return WatchVerdict(WatchAction.KEEP, f"the release stays: in {policy.watch_seconds:g} s {ran}")


def has_grounds(now: Mapping[str, TaskCounts], policy: WatchPolicy) -> bool:
    """Return whether the failure rate is high enough to compare it with that of the release before."""
    total = add_up(now.values())
    return total.ended >= max(policy.min_task_ends, 1) and total.rate > policy.max_failure_rate


def expect(now: Mapping[str, TaskCounts], before: Mapping[str, TaskCounts]) -> float:
    """Return the share of attempts that would fail at the rates of the release before.

    Each Dag counts with its own earlier rate, and a new Dag with the overall rate. So a Dag that always fails causes
    no rollback merely because it ran.
    """
    total = add_up(now.values())
    if not total.ended:
        return 0.0
    overall = add_up(before.values()).rate
    failed = sum(tally.ended * (before[dag].rate if dag in before else overall) for dag, tally in now.items())
    return failed / total.ended


def add_up(tallies: Iterable[TaskCounts]) -> TaskCounts:
    """Return the sum of the counts."""
    listed = tuple(tallies)
    return TaskCounts(sum(one.ended for one in listed), sum(one.failed for one in listed))


def _go_back(seen: Evidence, why: str) -> WatchVerdict:
    return WatchVerdict(WatchAction.ROLL_BACK, f"back to {release_archive.shorten(seen.previous)}: {why}")


def _name(names: Iterable[str]) -> str:
    listed = tuple(names)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more
