"""What other limits of slots would have cost: the decision of `slot_rules`, run over tasks that have ended. No I/O."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from airfleet_provider.contract.jitter_rules import JitterRule, find_delay
from airfleet_provider.contract.slot_rules import Demand, Peak, SlotInputs, SlotRule, WorkerReport, decide

# Decisions are this many seconds apart, as long as it takes a worker to learn of its slots.
STEP_S = 2.0


@dataclass(frozen=True, slots=True)
class PastTask:
    """A task that has ended: when it could start, in seconds since 1970 (UTC), and how long it ran.

    `cron_of` is the Dag of a task whose run a cron began.
    """

    ready_at: float
    ran_s: float
    cron_of: str | None = None


@dataclass(frozen=True, slots=True)
class SimulationOutcome:
    """What a rule would have given. Utilisation is the share of slot-hours in which a task ran."""

    tasks: int
    slot_hours: float
    busy_hours: float
    most_slots: int
    changes: int
    wait_p50_s: float
    wait_p95_s: float
    wait_most_s: float

    @property
    def utilisation(self) -> float:
        """Return the share of slot-hours in which a task ran."""
        return self.busy_hours / self.slot_hours if self.slot_hours else 0.0


def simulate(rule: SlotRule, tasks: Iterable[PastTask]) -> SimulationOutcome:
    """Run the tasks in the order in which they became ready, each in the first free slot, under the rule.

    A task takes as long as it took, and depends on no other: a task that starts later makes none ready later.
    """
    arrivals = deque(sorted(tasks, key=lambda one: one.ready_at))
    if not arrivals:
        return SimulationOutcome(0, 0.0, 0.0, 0, 0, 0.0, 0.0, 0.0)
    now = arrivals[0].ready_at
    peak = Peak(rule.calm_s, now, 0)
    state = _State()
    while arrivals or state.waiting or state.running:
        state.move_to(now, arrivals)
        state.set_slots(rule, now, peak)
        state.start(now)
        idle_until = arrivals[0].ready_at if arrivals and not state.waiting and not state.running else now
        # Nothing happens until the next task, but slots are still taken away when the calm is over.
        skip = max(0.0, min(idle_until, now + rule.calm_s) - now)
        step = max(STEP_S, skip // STEP_S * STEP_S)
        state.spend(step)
        now += step
    return state.sum_up()


class _State:
    def __init__(self) -> None:
        self.waiting: deque[PastTask] = deque()
        self.running: list[float] = []
        self.slots = 0
        self.most_slots = 0
        self.changes = 0
        self.slot_s = 0.0
        self.busy_s = 0.0
        self.waits: list[float] = []

    def move_to(self, now: float, arrivals: deque[PastTask]) -> None:
        """End what has ended by now, start what waits in the slots that became free, and let tasks arrive."""
        while self.running and self.running[0] <= now:
            ended = heapq.heappop(self.running)
            self._admit(arrivals, ended)
            self.start(ended)
        self._admit(arrivals, now)

    def _admit(self, arrivals: deque[PastTask], now: float) -> None:
        while arrivals and arrivals[0].ready_at <= now:
            self.waiting.append(arrivals.popleft())

    def set_slots(self, rule: SlotRule, now: float, peak: Peak) -> None:
        demand = Demand(len(self.running), 0, len(self.waiting))
        limits = rule.find_limits(datetime.fromtimestamp(now, UTC))
        workers = tuple(WorkerReport(host, None, 0, True, 0.0) for host in rule.hosts)
        inputs = SlotInputs(*limits, rule.per_host, demand, workers, peak=peak.add(now, demand.tasks), pack=rule.pack)
        slots = sum(decide(inputs).slots.values())
        self.changes += slots != self.slots
        self.slots = slots
        self.most_slots = max(self.most_slots, slots)

    def start(self, now: float) -> None:
        """Start waiting tasks in free slots. Fewer slots end no task, so more may run than there are slots."""
        while self.waiting and len(self.running) < self.slots:
            task = self.waiting.popleft()
            self.waits.append(max(0.0, now - task.ready_at))
            self.busy_s += task.ran_s
            heapq.heappush(self.running, now + task.ran_s)

    def spend(self, seconds: float) -> None:
        self.slot_s += max(self.slots, len(self.running)) * seconds

    def sum_up(self) -> SimulationOutcome:
        waits = sorted(self.waits)
        return SimulationOutcome(
            tasks=len(waits),
            slot_hours=self.slot_s / 3600,
            busy_hours=self.busy_s / 3600,
            most_slots=self.most_slots,
            changes=self.changes,
            wait_p50_s=_quantile(waits, 0.5),
            wait_p95_s=_quantile(waits, 0.95),
            wait_most_s=waits[-1],
        )


def _quantile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


def jitter(
    tasks: Sequence[PastTask], present: Sequence[JitterRule], wanted: Sequence[JitterRule]
) -> tuple[PastTask, ...]:
    """Return the tasks as they would have become ready with other rules of jitter than the present ones."""
    dags = {one.cron_of for one in tasks if one.cron_of}
    later = {dag: find_delay(wanted, dag) - find_delay(present, dag) for dag in dags}
    return tuple(replace(one, ready_at=one.ready_at + later.get(one.cron_of or "", 0)) for one in tasks)


def count_busiest_minute(tasks: Iterable[PastTask]) -> int:
    """Return how many tasks became ready in the minute in which most did."""
    return max(Counter(int(one.ready_at // 60) for one in tasks).values(), default=0)


def fix(rule: SlotRule) -> SlotRule:
    """Return the rule of a pool that always has all its slots."""
    return replace(rule, least=rule.per_host * len(rule.hosts), most=None, hours=())
