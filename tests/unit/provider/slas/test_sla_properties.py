"""What holds of the SLA engine in every history: random runs, random pauses between evaluations, kills at any line."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import pytest

from airfleet_provider.contract.sla_rules import ENDED, Calendar, PromiseKind, PromiseState, SlaRule
from airfleet_provider.slas.engine import CALM, evaluate
from airfleet_provider.slas.instances import Instance, InstanceKey, Transition
from airfleet_provider.slas.observations import Observations, ObservedDag, ObservedRun, Task
from airfleet_provider.slas.prediction import Profile, TaskProfile

ZONE = Calendar("Europe/Berlin")
# Five days around each change of the clocks.
STARTS = (datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 10, 23, tzinfo=UTC))
DAYS = 5
RULES = (
    SlaRule("by", PromiseKind.FINISHED_BY, dag="marts", at=time(2, 30), since=time(20), calendar=ZONE),
    SlaRule("long", PromiseKind.NO_LONGER_THAN, dag="marts", limit_s=5400),
    SlaRule("prompt", PromiseKind.STARTS_WITHIN, dag="marts", limit_s=600),
    SlaRule("alive", PromiseKind.MUST_RUN, dag="marts", limit_s=26 * 3600),
)
PROFILE = Profile(5400, 9, {"load": TaskProfile(5400, 0, 5400)})


@dataclass(frozen=True)
class Past:
    """A run as it will have been; it is made when it is due."""

    run_id: str
    due: datetime
    start: datetime
    end: datetime
    is_success: bool


def invent(random_: random.Random, start: datetime) -> list[Past]:
    """Runs at 23:00 UTC, some slow, some late, some failed, some never made."""
    runs = []
    for number in range(-1, DAYS):
        due = start + timedelta(days=number, hours=23)
        if random_.random() < 0.15:
            continue
        begun = due + timedelta(seconds=random_.choice([2, 5, 700, 5000]))
        end = begun + timedelta(minutes=random_.choice([1, 30, 85, 95, 200, 1500]))
        runs.append(Past(f"r{number}", due, begun, end, random_.random() < 0.8))
    return runs


def observe(runs: list[Past], now: datetime, evaluated_at: datetime | None, start: datetime) -> Observations:
    made = [one for one in runs if one.due <= now]
    seen = {}
    for one in made:
        begun, ended = one.start <= now, one.end <= now
        states = {"success" if one.is_success else "failed": 1} if ended else {"running" if begun else "null": 1}
        task = Task(states, one.due, one.start if begun else None, one.end if ended else None)
        state = ("success" if one.is_success else "failed") if ended else "running" if begun else "queued"
        seen["marts", one.run_id] = ObservedRun(
            "marts", one.run_id, "scheduled", one.due, state, task.started_at, task.ended_at, {"load": task}
        )
    after = [one.due for one in runs if one.due > now]
    return Observations(
        dags={"marts": ObservedDag("marts", tasks=frozenset({"load"}), next_run=min(after, default=None))},
        runs=seen,
        profiles={"marts": PROFILE},
        successes={("marts", ""): tuple(sorted(one.end for one in made if one.is_success and one.end <= now))},
        rules_since={(rule.name, rule.kind): start for rule in RULES},
        evaluated_at=evaluated_at,
    )


def live(
    runs: list[Past], start: datetime, moments: list[datetime], kills: random.Random | None = None
) -> tuple[dict[InstanceKey, Instance], list[tuple[datetime, Transition]]]:
    """Evaluate at these moments. A kill loses the transitions of an evaluation; the next one begins from the rows."""
    rows: dict[InstanceKey, Instance] = {}
    log, evaluated_at = [], None
    for now in moments:
        transitions = evaluate(RULES, observe(runs, now, evaluated_at, start), rows.values(), now)
        if kills and kills.random() < 0.3 and now not in (moments[0], moments[-1]):
            continue
        for one in transitions:
            log.append((now, one))
            if one.after is None:
                del rows[one.key]
            else:
                rows[one.key] = one.after
        evaluated_at = now
    return rows, log


def list_moments(start: datetime, step_s: float) -> list[datetime]:
    last = start + timedelta(days=DAYS)
    count = int((last - start).total_seconds() / step_s)
    return [*(start + timedelta(seconds=step_s * number) for number in range(count)), last]


def conclude(rows: dict[InstanceKey, Instance]) -> dict[InstanceKey, tuple[object, ...]]:
    """What a report reads of the instances that have ended, but for the moment at which the engine noticed it."""
    return {
        key: (one.state, one.starts_at, one.due_at, one.fulfilled_at) for key, one in rows.items() if one.state in ENDED
    }


@pytest.mark.parametrize("seed", range(6))
def test_an_instance_ends_once_and_never_flaps(seed: int) -> None:
    random_ = random.Random(seed)
    start = STARTS[seed % 2]
    rows, log = live(invent(random_, start), start, list_moments(start, 600))
    ends = Counter(
        one.key for _, one in log if one.after and one.after.ended_at and not (one.before and one.before.ended_at)
    )
    assert set(ends.values()) <= {1}
    assert ends.keys() == {key for key, one in rows.items() if one.ended_at}
    changes: dict[InstanceKey, list[tuple[datetime, PromiseState, PromiseState]]] = defaultdict(list)
    for now, one in log:
        if one.before and one.after and one.before.state is not one.after.state:
            assert one.before.state not in ENDED, "an end is an end"
            assert (one.before.state, one.after.state) != (PromiseState.LATE, PromiseState.DUE)
            changes[one.key].append((now, one.before.state, one.after.state))
    for found in changes.values():
        risks = [now for now, _, after in found if after is PromiseState.AT_RISK]
        calms = [now for now, before, after in found if (before, after) == (PromiseState.AT_RISK, PromiseState.DUE)]
        for risk, calm in zip(risks, calms, strict=False):
            assert calm - risk >= CALM


@pytest.mark.parametrize("seed", range(4))
def test_kills_and_pauses_change_no_conclusion(seed: int) -> None:
    random_ = random.Random(seed)
    start = STARTS[seed % 2]
    runs = invent(random_, start)
    rows, _ = live(runs, start, list_moments(start, 600))
    killed, _ = live(runs, start, list_moments(start, 600), random.Random(seed))
    assert conclude(killed) == conclude(rows)
    moments = list_moments(start, 600)
    some = sorted({moments[0], moments[-1], *random_.sample(moments, len(moments) // 20)})
    paused, _ = live(runs, start, some)
    assert conclude(paused) == conclude(rows)


@pytest.mark.parametrize("seed", range(6))
def test_days_are_concluded_as_the_promise_says(seed: int) -> None:
    start = STARTS[seed % 2]
    runs = invent(random.Random(seed), start)
    rows, _ = live(runs, start, list_moments(start, 900))
    end = start + timedelta(days=DAYS)
    for number in range(1, DAYS):
        day = date(start.year, start.month, start.day) + timedelta(days=number)
        due = ZONE.find_moment(day, time(2, 30))
        before = ZONE.find_moment(day - timedelta(days=1), time(20))
        found = [one for one in runs if before <= one.due < due]
        assert len(found) <= 1
        run = found[0] if found else None
        instance = rows[InstanceKey("by", PromiseKind.FINISHED_BY, next(iter(rows)).subject, day.isoformat())]
        if run and run.is_success and run.end <= min(due, end):
            assert (instance.state, instance.fulfilled_at) == (PromiseState.MET, run.end)
        elif due < end - timedelta(hours=1):
            assert instance.state in (PromiseState.LATE, PromiseState.MISSED)
