"""The limits of services that keep a task instance, and when its turn comes (ADR 76)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from airfleet_provider.contract import service_limits, wording
from airfleet_provider.contract.explanation import words
from airfleet_provider.contract.explanation.facts import Facts, FullLimit, TaskFacts
from airfleet_provider.contract.explanation.model import Cause, CauseSeverity, Code


def judge(facts: Facts, task: TaskFacts) -> Iterator[Cause]:
    """Yield the limits that hide the instance from the scheduler's query."""
    for one in facts.limits:
        if one.task != task.task or one.place == 0:
            continue
        is_full = one.at_once is not None and one.active >= one.at_once
        # When an active task ends, nobody knows.
        until_s = None if is_full else reckon_wait(one)
        about = f", about {words.between(facts.now, facts.now + timedelta(seconds=until_s))}" if until_s else ""
        place = f", place {one.place}{about}" if one.place else ""
        full = f" {wording.count(one.active, 'task')} of it {words.be(one.active)} active now." if is_full else ""
        yield Cause(
            Code.SERVICE_LIMIT,
            CauseSeverity.WAITING,
            f"{words.name(task)} waits for the limit {one.name}: "
            f"{service_limits.describe(one.starts_per_minute, one.at_once)}{place}.{full} "
            f"{wording.count(one.waiting, 'task')} wait{'s' * (one.waiting == 1)}.",
            since=task.scheduled_at,
            until=facts.now + timedelta(seconds=until_s) if until_s else None,
            figures={
                "limit": one.name,
                "starts_per_minute": one.starts_per_minute,
                "at_once": one.at_once,
                "active": one.active,
                "waiting": one.waiting,
                "place": one.place,
            },
            advice="The task holds no slot and loses no try. Each Dag has its turn.",
            commands=("airfleet limit list",),
        )


def reckon_wait(limit: FullLimit) -> float | None:
    """Return the seconds until the turn of the instance by the rate alone, or None if the rate does not say it."""
    if limit.place is None or limit.starts_per_minute is None:
        return None
    missing = limit.place - limit.tokens
    return max(1.0, missing * 60 / limit.starts_per_minute - limit.idle_s)
