"""How many slots the workers of a pool have, and who is served first: the rule and the decision (ADR 51, 92). No I/O.

A slot is the right to run one task. A pool without a rule has all its slots, always.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Self
from zoneinfo import ZoneInfo

# The path of the api-server at which a worker reports, and learns its slots and whether it is drained.
PATH = "/airfleet/workers"
# A worker that has not reported for so long does not count: its slots are not there.
SILENT_S = 15.0
# Without an agent that decides, a worker keeps its slots for so long, and then has those of `Answer.otherwise`.
STALE_S = 120.0
# If no task has begun for so long though some wait and slots are free, tasks cannot be packed now.
STUCK_S = 30.0
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Hours:
    """A time of day in which other limits hold. It may pass midnight, and then belongs to the day on which it began."""

    begins: str
    ends: str
    days: tuple[str, ...] = DAYS
    least: int | None = None
    most: int | None = None

    def holds(self, now: datetime) -> bool:
        """Return whether it holds at a moment of the rule's time zone."""
        clock, day = now.strftime("%H:%M"), now.weekday()
        if self.begins < self.ends:
            return self.begins <= clock < self.ends and DAYS[day] in self.days
        return (clock >= self.begins and DAYS[day] in self.days) or (
            clock < self.ends and DAYS[(day - 1) % 7] in self.days
        )


@dataclass(frozen=True, slots=True)
class FixedPool:
    """A pool without a rule. Its workers report too, so that they can be drained on the Fleet pages."""

    pool: str
    hosts: tuple[str, ...]
    per_host: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        return cls(content["pool"], tuple(content["hosts"]), content["per_host"])


@dataclass(frozen=True, slots=True)
class SlotRule:
    """The rule of one pool. `hosts` have `per_host` processes each; `least` and `most` count the whole pool."""

    pool: str
    queues: tuple[str, ...]
    hosts: tuple[str, ...]
    per_host: int
    least: int = 1
    most: int | None = None
    # Slots are taken away only when they were not needed for so many seconds.
    calm_s: float = 60.0
    zone: str = "UTC"
    hours: tuple[Hours, ...] = ()
    # Tasks go to as few hosts as can run them, and the others have no slots (ADR 92).
    pack: bool = False
    # So many seconds pass until a host that is made or switched on takes tasks. Hosts are needed so long before.
    ahead_s: float = 0.0

    @property
    def fewest(self) -> int:
        """Return the slots that the pool has at least, whatever the limits are: some worker takes tasks."""
        return 1 if self.pack else len(self.hosts)

    def find_limits(self, now: datetime) -> tuple[int, int]:
        """Return the least and the most slots of the pool at a moment. The first of `hours` that holds decides.

        Unless tasks are packed, each host has at least one.
        """
        least, most = self.find_wishes(now)
        top = self.per_host * len(self.hosts)
        highest = max(self.fewest, min(top, top if most is None else most))
        return min(max(least, self.fewest), highest), highest

    def find_wishes(self, now: datetime) -> tuple[int, int | None]:
        """Return the least and the most slots as a person wrote them, whatever the present hosts can have."""
        local = now.astimezone(ZoneInfo(self.zone))
        found = next((one for one in self.hours if one.holds(local)), None)
        least = self.least if found is None or found.least is None else found.least
        return least, self.most if found is None or found.most is None else found.most

    def to_json(self) -> dict[str, Any]:
        """Return the rule as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the rule that `to_json` wrote."""
        hours = tuple(Hours(**{**one, "days": tuple(one["days"])}) for one in value["hours"])
        return cls(**{**value, "queues": tuple(value["queues"]), "hosts": tuple(value["hosts"]), "hours": hours})


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The worker of a host, as it reported last.

    `slots` are those that the last decision gave it, None if it has had none. `held` are the tasks that it has taken
    and that have not ended. `takes` is false while it is drained, its disk is full or its memory is short. Tasks go to
    the worker with the lowest `rank` that has a free slot, if they are packed.
    """

    host: str
    slots: int | None
    held: int
    takes: bool
    age_s: float | None
    rank: int = 0

    @property
    def counts(self) -> bool:
        """Return whether the worker takes tasks."""
        return self.takes and self.age_s is not None and self.age_s < SILENT_S


@dataclass(frozen=True, slots=True)
class Demand:
    """The tasks of a pool's queues that run, that were sent to a worker, and that could be sent at once.

    `lasting` and `due` are what to expect after `SlotRule.ahead_s`: tasks that have run for so long will go on for as
    long, as far as anybody knows, and `due` are those of Dags whose crons come until then. Only hosts depend on them.
    """

    running: int = 0
    queued: int = 0
    admissible: int = 0
    # The seconds since the first of the queued ones was sent.
    queued_s: float = 0.0
    lasting: int = 0
    due: int = 0

    @property
    def tasks(self) -> int:
        """Return the slots that would let all of them run."""
        return self.running + self.queued + self.admissible


@dataclass(frozen=True, slots=True)
class SlotInputs:
    """All that a decision depends on.

    `peak` is the highest demand in the last `calm_s` seconds before this one. `fixed` is the number of slots that a
    person has set, None if the pool scales by itself. `booting` are slots of workers that will soon report. With `pack`
    the slots are on as few hosts as can have them, unless `is_stuck`: see `Stall`.
    """

    least: int
    most: int
    per_host: int
    demand: Demand
    workers: tuple[WorkerReport, ...]
    peak: int = 0
    fixed: int | None = None
    booting: int = 0
    pack: bool = False
    is_stuck: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the inputs as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the inputs that `to_json` wrote."""
        workers = tuple(WorkerReport(**one) for one in value["workers"])
        return cls(**{**value, "demand": Demand(**value["demand"]), "workers": workers})


@dataclass(frozen=True, slots=True)
class SlotDecision:
    """The slots of each worker, their sum that was wanted, and why. A worker that does not count has no entry."""

    wanted: int
    slots: Mapping[str, int]
    reason: str


def decide(inputs: SlotInputs) -> SlotDecision:
    """Return the slots of each worker that takes tasks.

    Guarantees: each has up to `per_host` slots, and at least one unless tasks are packed; some worker has a slot; their
    sum is between the limits where that is possible; it is at least the demand where the limits let it be; the same
    inputs always give the same slots.
    """
    wanted, reason = _find_wanted(inputs)
    counting = [one for one in inputs.workers if one.counts]
    slots = {}
    if inputs.pack and inputs.is_stuck:
        reason += "; tasks wait though slots are free, so each worker has one"
    elif inputs.pack:
        left = max(1, wanted - inputs.booting)
        for worker in sorted(counting, key=lambda one: (one.rank, one.host)):
            slots[worker.host] = min(left, inputs.per_host)
            left -= slots[worker.host]
        return SlotDecision(wanted, slots, reason)
    left = max(0, wanted - inputs.booting - len(counting))
    # Those with most slots keep them, and those with least give theirs up first: so that hosts become empty.
    for worker in sorted(counting, key=lambda one: (-(one.slots or 0), -one.held, one.host)):
        more = min(left, inputs.per_host - 1)
        slots[worker.host] = 1 + more
        left -= more
    return SlotDecision(wanted, slots, reason)


def count_hosts(inputs: SlotInputs, least: int = 1, most: int | None = None) -> int:
    """Return how many hosts the tasks of a pool need, also more than it has. `least` and `most` count slots."""
    expected = inputs.demand.lasting + inputs.demand.due
    needed = max(inputs.demand.tasks, expected, inputs.peak) if inputs.fixed is None else inputs.fixed
    needed = max(1, least, needed)
    return -(-(needed if most is None else max(1, min(needed, most))) // inputs.per_host)


def find_absent_slots(
    before: Mapping[str, int | None], slots: Mapping[str, int], *, pack: bool = False
) -> dict[str, int | None]:
    """Return the slots of the workers that do not count in a decision: they are silent, or take no tasks.

    Each has one, or none if tasks are packed, so that a worker that takes tasks again begins with no slots that others
    have meanwhile. If no worker counts, the api-servers may be away and the workers well: then each keeps those of
    `before`, its slots by host.
    """
    begins_with = 0 if pack else 1
    return {host: begins_with if slots else own for host, own in before.items() if host not in slots}


def rank_hosts(before: Mapping[str, int | None], counting: Collection[str]) -> dict[str, int]:
    """Return the rank of each host of `before`, which has the present ranks, None for a host that is new.

    Guarantees: ranks differ; those of hosts that count are below those of the others; hosts that count keep their
    order, and new ones come behind them. A rank changes only where one of these would not hold otherwise: each change
    costs the worker a round trip to the broker. If no host counts, the order stays.
    """
    order = sorted(
        before,
        key=lambda host: (bool(counting) and host not in counting, before[host] is None, before[host] or 0, host),
    )
    ranks: dict[str, int] = {}
    least = 0
    for host in order:
        own = before[host]
        ranks[host] = own if own is not None and own >= least else least
        least = ranks[host] + 1
    return ranks


def _find_wanted(inputs: SlotInputs) -> tuple[int, str]:
    if inputs.fixed is not None:
        return max(1, inputs.fixed), "set by hand"
    needed = max(inputs.demand.tasks, inputs.peak)
    if needed > inputs.most:
        return inputs.most, f"{needed} tasks need a slot, and {inputs.most} is the most"
    if needed < inputs.least:
        return inputs.least, f"{needed} tasks need a slot, and {inputs.least} is the least"
    if inputs.demand.tasks < inputs.peak:
        return needed, f"{inputs.demand.tasks} tasks need a slot, and {needed} did a moment ago"
    return needed, f"{needed} tasks need a slot"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Scheduled instances of one task of one run."""

    dag: str
    run: str
    task: str
    slot_pool: str
    tasks: int
    # Slots of the slot pool that each takes.
    each: int = 1


def count_admissible(
    waiting: Iterable[Waiting],
    room_of_runs: Mapping[tuple[str, str], int],
    room_of_pools: Mapping[str, int | None],
    held: Iterable[tuple[str, str]] = (),
) -> int:
    """Return how many of these instances the scheduler could send at once, if there were slots enough at workers.

    `room_of_runs` is how many more tasks of a run may be active, by Dag and run. `room_of_pools` has the free slots of
    each slot pool, None for no limit. `held` are tasks that a breaker or a limit keeps, as Dag and task. The limit on
    instances of one task (`max_active_tis_per_dag`) is not regarded: only the serialised Dag has it.
    """
    runs, pools, kept = dict(room_of_runs), dict(room_of_pools), frozenset(held)
    count = 0
    for one in waiting:
        if (one.dag, one.task) in kept or one.slot_pool not in pools:
            continue
        free = pools[one.slot_pool]
        fits = one.tasks if free is None else max(0, free) // max(1, one.each)
        some = min(one.tasks, fits, max(0, runs.get((one.dag, one.run), 0)))
        runs[one.dag, one.run] = runs.get((one.dag, one.run), 0) - some
        if free is not None:
            pools[one.slot_pool] = free - some * one.each
        count += some
    return count


class Peak:
    """The highest demand of the last seconds. A new one begins with the slots that the workers have."""

    def __init__(self, calm_s: float, now: float, begins_with: int) -> None:
        self._calm_s = calm_s
        self._seen: list[tuple[float, int]] = [(now, begins_with)]

    def add(self, now: float, demand: int) -> int:
        """Add the present demand, and return the highest of the last `calm_s` seconds."""
        kept: Sequence[tuple[float, int]] = [
            (at, value) for at, value in self._seen if now - at < self._calm_s and value > demand
        ]
        self._seen = [*kept, (now, demand)]
        return max(value for _, value in self._seen)


class Stall:
    """Finds out that the workers which have slots do not take the tasks that were sent to a queue.

    What a worker reports is not believed here, as a task of another worker could have written it (ADR 92). A queue is
    long, and a slot free for a moment, also where `max` keeps tasks waiting: only that none begins shows something.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._is_stuck = False
        self._moments: tuple[float, float] = (0.0, 0.0)

    def add(self, now: float, *, waits_s: float | None, has_free: bool, sent_at: float, begun_at: float) -> bool:
        """Add what is seen now, and return whether tasks are stuck, which holds until none waits for long any more.

        The first task that waits was sent `waits_s` ago, at `sent_at`, None if none waits. `has_free` is whether the
        pool has more slots than tasks that run. `begun_at` is when the last task that runs began. Moments are compared
        with nothing but those of before, as the clocks of hosts differ.
        """
        has_moved = sent_at > self._moments[0] or begun_at > self._moments[1]
        self._moments = (max(sent_at, self._moments[0]), max(begun_at, self._moments[1]))
        if waits_s is None or (self._is_stuck and waits_s <= STUCK_S):
            self._since, self._is_stuck = None, False
        elif self._since is None or (not self._is_stuck and (has_moved or not has_free)):
            self._since = now
        else:
            self._is_stuck = self._is_stuck or now - self._since > STUCK_S
        return self._is_stuck


def replay(inputs: SlotInputs, **changes: Any) -> SlotDecision:  # noqa: ANN401 - values of fields of Inputs
    """Return what is decided by the same inputs with these changes."""
    return decide(replace(inputs, **changes))
