"""The parts of a run, from the times in the database: a pure function of rows, without a cost for the tasks."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from airfleet_provider.contract.run_trace import identity


class SpanPart(StrEnum):
    """What a try does in a part of its time."""

    # From the end of what it waited for until it is `scheduled`: the scheduler has to see it. For a further try, it is
    # the delay of the retry.
    NOTICED = "noticed"
    # From `scheduled` to `queued`: it waits for a slot of its pool, and for the scheduler.
    READY = "ready"
    # From `queued` to its start: it waits for the broker, a worker and a warm process.
    QUEUED = "queued"
    RUNNING = "running"


WAITS = {
    SpanPart.NOTICED: "until the scheduler saw it",
    SpanPart.READY: "for a slot and the scheduler",
    SpanPart.QUEUED: "for a worker to start it",
}
RETRY_WAIT = "between two tries"
# States of an instance that did nothing.
IDLE = frozenset({"", "skipped", "removed", "upstream_failed"})

TryKey = tuple[str, int, int, str]


@dataclass(frozen=True, slots=True)
class Try:
    """The times of one try, as the database has them."""

    task: str
    map_index: int
    number: int
    state: str
    scheduled: datetime | None
    queued: datetime | None
    started: datetime | None
    ended: datetime | None
    host: str = ""
    queue: str = ""
    pool: str = ""
    operator: str = ""
    # Airflow's own id of the try.
    id: str = ""

    @property
    def name(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        again = f" try {self.number}" if self.number > 1 else ""
        return f"{self.task}{mapped}{again}"

    @property
    def instance(self) -> tuple[str, int]:
        return self.task, self.map_index

    @property
    def key(self) -> TryKey:
        """What no other try of the run has."""
        return self.task, self.map_index, self.number, self.id


@dataclass(frozen=True, slots=True)
class UserSpan:
    """A span that the code of a try measured. `parent` is the number of another one of the same `file`, or 0.

    `owner` is the id of the try. Its moments are by the clock of the host on which the task ran.
    """

    owner: str
    file: str
    number: int
    parent: int
    name: str
    error: str
    begin: datetime
    seconds: float
    attributes: Mapping[str, bool | int | float | str] = field(default_factory=dict)

    @property
    def end(self) -> datetime:
        return self.begin + timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class TracedRun:
    """A run and its tries. `upstream` has for each task what it waits for; it is empty if that is not known."""

    dag: str
    run: str
    state: str
    begun: datetime
    started: datetime | None
    ended: datetime | None
    now: datetime
    tries: Sequence[Try]
    release: str = ""
    upstream: Mapping[str, frozenset[str]] = field(default_factory=dict)
    kind: str = ""
    created: datetime | None = None
    # How often tasks of the run were cleared.
    clear_number: int = 0
    user_spans: Sequence[UserSpan] = ()

    @property
    def end(self) -> datetime:
        """The end of the run, or now while it goes on."""
        return self.ended or self.now

    @property
    def trace_id(self) -> str:
        """The id of its trace in a collector, whether it was sent there or not."""
        return identity.name_trace(self.dag, self.run, self.created)


@dataclass(frozen=True, slots=True)
class TrySpan:
    """One part of a try."""

    owner: Try
    part: SpanPart
    begin: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()


@dataclass(frozen=True, slots=True)
class Trace:
    """A run in parts. `critical` are the tries whose end each next one waited for; `path` are all parts on the way.

    `wait` is the longest part of the path in which nothing ran, or None.
    """

    run: TracedRun
    spans: Sequence[TrySpan]
    critical: Sequence[Try]
    path: Sequence[TrySpan]
    wait: TrySpan | None

    @property
    def running_s(self) -> float:
        return sum(one.seconds for one in self.path if one.part is SpanPart.RUNNING)

    @property
    def waiting_s(self) -> float:
        return sum(one.seconds for one in self.path if one.part is not SpanPart.RUNNING)


def build(run: TracedRun) -> Trace:
    """Return the trace of a run. While the run goes on, open parts end now."""
    spans = [span for one in run.tries for span in list_spans(one, run.end)]
    critical = find_critical(run)
    path: list[TrySpan] = []
    before = run.begun
    for one in critical:
        own = list_spans(one, run.end)
        if own and own[0].begin > before:
            path.append(TrySpan(one, SpanPart.NOTICED, before, own[0].begin))
        # What overlaps with the try before did not make the run longer.
        path += [TrySpan(one, span.part, max(span.begin, before), span.end) for span in own if span.end > before]
        before = max(before, own[-1].end) if own else before
    waits = [span for span in path if span.part is not SpanPart.RUNNING]
    return Trace(run, spans, critical, path, max(waits, key=lambda span: span.seconds, default=None))


def list_spans(one: Try, end: datetime) -> list[TrySpan]:
    """Return the parts of a try in their order. Hosts have different clocks, so a negative part is left out.

    A task that comes back from a deferral or a reschedule is queued again, and the database keeps only that. What was
    before its first start is not known then.
    """
    over = one.ended or end
    spans: list[TrySpan] = []
    queued = one.queued if one.queued and not (one.started and one.queued > one.started) else None
    scheduled = one.scheduled if one.scheduled and not (one.started and one.scheduled > one.started) else None
    if scheduled and (queued or not one.started):
        spans.append(TrySpan(one, SpanPart.READY, scheduled, queued or over))
    if queued:
        spans.append(TrySpan(one, SpanPart.QUEUED, queued, one.started or over))
    if one.started:
        spans.append(TrySpan(one, SpanPart.RUNNING, one.started, over))
    return [span for span in spans if span.end > span.begin]


def find_critical(run: TracedRun) -> list[Try]:
    """Return the tries that decided when the run ended, the first of them first.

    It goes back from the try that ended last: to the try before of the same instance, or else to the last of what the
    task waits for. No step looks at all tries, as a run may have 20,000 of them on the path.
    """
    begun = BegunTries.sort(run)
    current = max(begun.tries, key=lambda one: one.ended or run.end, default=None)
    path: dict[TryKey, Try] = {}
    while current and current.key not in path:
        path[current.key] = current
        current = begun.find_before(current)
    return [*path.values()][::-1]


@dataclass(frozen=True, slots=True)
class BegunTries:
    """The tries of a run that began, in the orders in which they are looked for.

    `before` has for each try the one before of the same instance, `last` the last try of each instance by its task, and
    `ended` the tries that have ended in the order of their ends.
    """

    run: TracedRun
    tries: Sequence[Try]
    before: Mapping[TryKey, Try]
    last: Mapping[str, Sequence[Try]]
    ended: Sequence[Try]

    @classmethod
    def sort(cls, run: TracedRun) -> BegunTries:
        """Return the tries of a run in order."""
        tries = [one for one in run.tries if one.started and one.state not in IDLE]
        newest: dict[tuple[str, int], Try] = {}
        before: dict[TryKey, Try] = {}
        for one in sorted(tries, key=lambda own: own.number):
            former = newest.get(one.instance)
            if former and former.number == one.number:
                former = before.get(former.key)
            if former:
                before[one.key] = former
            newest[one.instance] = one
        last: defaultdict[str, list[Try]] = defaultdict(list)
        for one in newest.values():
            last[one.task].append(one)
        ended = sorted((one for one in tries if one.ended), key=lambda own: own.ended or run.end)
        return cls(run, tries, before, last, ended)

    def find_before(self, current: Try) -> Try | None:
        """Return the try whose end let another one begin, or None if nothing did."""
        if earlier := self.before.get(current.key):
            return earlier
        if not self.run.upstream:
            limit = min(filter(None, (current.scheduled, current.started)), default=None)
            place = bisect_right(self.ended, limit, key=lambda one: one.ended or self.run.end) if limit else 0
            return self.ended[place - 1] if place else None
        names = _find_active(self.run, current.task, self.last.keys())
        before = [one for name in names for one in self.last[name]]
        # What is still running did not let the task begin; its trigger rule did not wait for it.
        ended = [one for one in before if one.ended and (not current.started or one.ended <= current.started)]
        return max(ended, key=lambda one: one.ended or self.run.end, default=None)


def _find_active(run: TracedRun, task: str, active: Collection[str]) -> set[str]:
    """Return the tasks before a task that did something; where one did nothing, those before that one."""
    found, left, seen = set[str](), [task], {task}
    while left:
        for name in run.upstream.get(left.pop(), frozenset()) - seen:
            seen.add(name)
            if name in active:
                found.add(name)
            else:
                left.append(name)
    return found


def choose(trace: Trace, most: int) -> Sequence[Try]:
    """Return the tries to show, in the order in which they began: those of the critical path, and the longest."""
    tries: dict[TryKey, Try] = {}
    ends: defaultdict[TryKey, float] = defaultdict(float)
    for span in trace.spans:
        tries[span.owner.key] = span.owner
        ends[span.owner.key] += span.seconds
    critical = dict.fromkeys(one.key for one in trace.critical if one.key in tries)
    others = sorted((key for key in tries if key not in critical), key=lambda key: -ends[key])
    chosen = set([*critical, *others][:most])
    return [one for key, one in tries.items() if key in chosen]


def list_user_spans(run: TracedRun, owner: Try) -> Iterator[tuple[int, UserSpan]]:
    """Yield the spans of the code of a try with their depths, each after the one that it is in."""
    below: defaultdict[tuple[str, int], list[UserSpan]] = defaultdict(list)
    own = [one for one in run.user_spans if one.owner == owner.id]
    known = {(one.file, one.number) for one in own}
    for one in own:
        # A number that is not smaller is no parent, so there is no circle. One that was not kept leaves its children.
        has_parent = one.parent < one.number and (one.file, one.parent) in known
        below[one.file, one.parent if has_parent else 0].append(one)
    left = [(0, one) for file in dict.fromkeys(one.file for one in own) for one in below[file, 0]][::-1]
    while left:
        depth, one = left.pop()
        yield depth, one
        left += [(depth + 1, child) for child in below[one.file, one.number]][::-1]


def tell_wait(trace: Trace) -> str:
    """Return one sentence about the longest wait on the critical path, or "" if there was none."""
    wait = trace.wait
    if wait is None or wait.seconds <= 0:
        return ""
    whole = (trace.run.end - trace.run.begun).total_seconds()
    share = f", {wait.seconds / whole:.0%} of the run" if whole > 0 else ""
    is_retry = wait.part is SpanPart.NOTICED and wait.owner.number > 1
    what = RETRY_WAIT if is_retry else WAITS[wait.part]
    where = f" in the pool {wait.owner.pool}" if wait.part is SpanPart.READY and wait.owner.pool else ""
    where = f" in the queue {wait.owner.queue}" if wait.part is SpanPart.QUEUED and wait.owner.queue else where
    return f"The longest wait was {wait.seconds:.1f} s{share}: {wait.owner.name} waited {what}{where}."


def to_json(trace: Trace) -> Mapping[str, object]:
    """Return a trace as an object that JSON knows."""
    run = trace.run
    critical = set(trace.critical)
    return {
        "dag_id": run.dag,
        "run_id": run.run,
        "state": run.state,
        "release": run.release,
        "trace_id": run.trace_id,
        "begin": run.begun.isoformat(),
        "end": run.ended.isoformat() if run.ended else None,
        "spans": [
            {
                "task_id": one.owner.task,
                "map_index": one.owner.map_index,
                "try_number": one.owner.number,
                "state": one.owner.state,
                "host": one.owner.host,
                "part": one.part.value,
                "begin": one.begin.isoformat(),
                "end": one.end.isoformat(),
                "seconds": round(one.seconds, 3),
                "is_critical": one.owner in critical,
            }
            for one in trace.spans
        ],
        "user_spans": [
            {
                "task_id": owner.task,
                "map_index": owner.map_index,
                "try_number": owner.number,
                "name": one.name,
                "depth": depth,
                "begin": one.begin.isoformat(),
                "seconds": round(one.seconds, 6),
                "error": one.error or None,
                "attributes": dict(one.attributes),
            }
            for owner in (run.tries if run.user_spans else ())
            for depth, one in list_user_spans(run, owner)
        ],
        "critical_path": [one.name for one in trace.critical],
        "running_s": round(trace.running_s, 3),
        "waiting_s": round(trace.waiting_s, 3),
        "longest_wait": tell_wait(trace),
    }
