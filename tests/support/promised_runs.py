"""Dags and runs that the SLA engine sees, and the promises that it makes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

from airfleet_provider.contract.sla_rules import PromiseKind, SlaRule
from airfleet_provider.slas.engine import evaluate
from airfleet_provider.slas.instances import Instance, InstanceKey
from airfleet_provider.slas.observations import Observations, ObservedDag, ObservedRun, Task
from airfleet_provider.slas.prediction import Profile, TaskProfile

DAY = datetime(2026, 3, 3, tzinfo=UTC)
BY_SIX = SlaRule("marts", PromiseKind.FINISHED_BY, dag="marts", at=time(6))
MARTS = ObservedDag("marts", tasks=frozenset({"load", "publish"}), next_run=DAY + timedelta(days=1, hours=3))


def at(hours: float, minutes: float = 0, seconds: float = 0) -> datetime:
    return DAY + timedelta(hours=hours, minutes=minutes, seconds=seconds)


class PromisedPlatform:
    """Observations that a test changes, and the instances that the engine has made of them."""

    def __init__(self, *rules: SlaRule, dags: tuple[ObservedDag, ...] = (MARTS,)) -> None:
        self.rules = rules
        self.seen = Observations(
            dags={dag.dag_id: dag for dag in dags}, rules_since={(one.name, one.kind): DAY for one in rules}
        )
        self.instances: dict[InstanceKey, Instance] = {}
        self.log: list[tuple[str, str]] = []

    def have(self, *runs: ObservedRun) -> None:
        self.seen = replace(self.seen, runs={(run.dag_id, run.run_id): run for run in runs})

    def change(self, dag: ObservedDag) -> None:
        self.seen = replace(self.seen, dags={**self.seen.dags, dag.dag_id: dag})

    def evaluate(self, now: datetime) -> None:
        for one in evaluate(self.rules, self.seen, self.instances.values(), now):
            if one.after is None:
                del self.instances[one.key]
            else:
                self.instances[one.key] = one.after
            before, after = (side.state.value if side else "-" for side in (one.before, one.after))
            if before != after:
                self.log.append((before, after))
        assert evaluate(self.rules, self.seen, self.instances.values(), now) == ()
        self.seen = replace(self.seen, evaluated_at=now)

    @property
    def only(self) -> Instance:
        (instance,) = self.instances.values()
        return instance


def make_run(
    name: str = "r1",
    *,
    due: datetime = DAY + timedelta(hours=3),
    start: datetime | None = None,
    end: datetime | None = None,
    state: str = "",
    kind: str = "scheduled",
    **tasks: Task,
) -> ObservedRun:
    state = state or ("success" if end else "running" if start else "queued")
    return ObservedRun("marts", name, kind, due, state, start, end, tasks)


def working(start: datetime) -> Task:
    return Task({"running": 1}, start, start)


def done(start: datetime, end: datetime) -> Task:
    return Task({"success": 1}, start, start, end)


WAITING = Task({"null": 1})
PROFILE = Profile(3600, 9, {"load": TaskProfile(2400, 1200, 2400), "publish": TaskProfile(1200, 0, 3600)})
MUST = SlaRule("alive", PromiseKind.MUST_RUN, dag="marts", limit_s=3600)
