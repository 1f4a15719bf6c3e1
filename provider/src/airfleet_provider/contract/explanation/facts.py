"""The facts that an explanation is made from. `reading` reads them; their moments are those of the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from airfleet_provider.contract.explanation.model import Subject
from airfleet_provider.contract.explanation.structure import DagSpec


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A process of Airflow that reports to the table `job`. `age_s` is the age of its last heartbeat."""

    id: int
    job_type: str
    hostname: str
    age_s: float
    heartbeat: datetime


@dataclass(frozen=True, slots=True)
class SchedulerLease:
    """The lease of the only active scheduler, and the candidates that were seen lately. Empty `holder`: it is free."""

    holder: str
    age_s: float
    renewed: datetime
    candidates: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class QueueActivity:
    """How many task instances of a queue are queued or running, and the oldest of them."""

    queue: str
    state: str
    count: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A Celery worker, as the control side sees it. `state` is one of `airfleet workers list`."""

    name: str
    state: str
    queues: tuple[str, ...]
    slots: int
    running: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What RabbitMQ says. `alarms` are sentences. `consumers` and `depth` are by queue."""

    answers: bool
    alarms: tuple[str, ...] = ()
    consumers: Mapping[str, int] = field(default_factory=dict)
    depth: Mapping[str, int] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    """The state of what all Dags share. None: not known here."""

    jobs: tuple[JobFacts, ...] = ()
    lease: SchedulerLease | None = None
    activity: tuple[QueueActivity, ...] = ()
    executor: str | None = None
    parallelism: int | None = None
    workers: tuple[WorkerState, ...] | None = None
    broker: BrokerState | None = None

    @property
    def occupied(self) -> int:
        """Return the number of task instances that the executor has."""
        return sum(one.count for one in self.activity)


@dataclass(frozen=True, slots=True)
class ImportFailure:
    """A Dag file that does not load, with the last line of its traceback."""

    file: str
    bundle: str
    since: datetime | None
    message: str


@dataclass(frozen=True, slots=True)
class DagFacts:
    """The row of a Dag. `next_run_after` is the moment after which the scheduler creates its next run."""

    dag: str
    is_paused: bool
    is_stale: bool
    has_import_errors: bool
    has_max_runs: bool
    bundle: str | None
    release: str | None
    file: str | None
    max_active_tasks: int
    max_active_runs: int | None
    next_logical_date: datetime | None
    next_run_after: datetime | None
    schedule: str | None
    by_assets: bool
    run_types: tuple[str, ...] | None
    parsed_at: datetime | None
    live_release: str | None
    live_since: datetime | None
    paused_since: datetime | None = None
    paused_by: str | None = None
    failures: tuple[ImportFailure, ...] = ()
    missing_assets: tuple[str, ...] = ()
    known_assets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The row of a Dag run. `backfill_limit` and `backfill_paused` are of its backfill."""

    run: str
    state: str
    run_type: str
    run_after: datetime
    logical_date: datetime | None
    queued_at: datetime | None
    started: datetime | None
    ended: datetime | None
    backfill: int | None
    backfill_limit: int | None
    backfill_paused: bool
    first_in_backfill: bool
    version: str | None
    release: str | None


@dataclass(frozen=True, slots=True)
class TaskCount:
    """How many task instances of a task have a state. `map_index` is only of tasks of mapped groups."""

    task: str
    state: str
    count: int
    map_index: int | None = None


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """The row of a task instance, with its trigger, the end of its reschedule delay, and its last audit events."""

    task: str
    map_index: int
    state: str
    try_number: int
    max_tries: int
    pool: str
    pool_slots: int
    queue: str
    priority: int
    scheduled_at: datetime | None
    queued_at: datetime | None
    started: datetime | None
    ended: datetime | None
    updated: datetime | None
    heartbeat: datetime | None
    hostname: str | None
    pid: int | None
    queued_by: int | None
    retry_delay_s: float | None
    retry_reason: str | None
    trigger: int | None
    trigger_class: str | None
    trigger_since: datetime | None
    trigger_until: datetime | None
    triggerer: int | None
    reschedule_at: datetime | None


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """A line of Airflow's audit log about the task instance."""

    event: str
    at: datetime | None
    text: str


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """A slot pool, with the slots that task instances take by state. `slots` below 0: without limit."""

    name: str
    slots: int
    counts_deferred: bool
    running: int
    queued: int
    deferred: int
    waiting: int

    @property
    def used(self) -> int:
        return self.running + self.queued + (self.deferred if self.counts_deferred else 0)

    @property
    def free(self) -> int | None:
        """Return the number of free slots, which may be below 0, or None without limit."""
        return None if self.slots < 0 else self.slots - self.used


@dataclass(frozen=True, slots=True)
class SlotHolder:
    """A task instance that takes slots of a slot pool."""

    pool: str
    dag: str
    run: str
    task: str
    map_index: int
    state: str
    slots: int
    since: datetime | None
    hostname: str | None


@dataclass(frozen=True, slots=True)
class Rival:
    """A scheduled task instance of the same run."""

    task: str
    map_index: int
    pool: str
    priority: int


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many instances of one task are active in one run."""

    task: str
    run: str
    count: int


@dataclass(frozen=True, slots=True)
class PastRun:
    """The previous run of the Dag with the states of its tasks, and the tasks that any earlier run had."""

    run: str
    counts: tuple[TaskCount, ...]
    prior: frozenset[str]


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise of `slas` about the Dag that is at risk or late, or that was missed and whose alert is still open."""

    rule: str
    kind: str
    task: str
    run: str | None
    state: str
    due: datetime
    changed: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class OpenBreaker:
    """A breaker that keeps a task of the Dag. `probe` is None while it probes, and if a person must close it.

    `reason` and `actor` are empty for a user who may not know them.
    """

    name: str
    state: str
    since: datetime
    probe: datetime | None
    wave: int
    reason: str
    actor: str
    waiting: int
    task: str


@dataclass(frozen=True, slots=True)
class FullLimit:
    """A limit of a service that keeps a task of the Dag. `place` is that of the instance in its queue, if it is known.

    `tokens` are the starts that were allowed `idle_s` seconds ago.
    """

    name: str
    starts_per_minute: int | None
    at_once: int | None
    active: int
    waiting: int
    tokens: float
    task: str
    idle_s: float
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts about one subject.

    `errors` has the first error of task instances by name. `unread` has a sentence for each fact that is not known.
    """

    now: datetime
    subject: Subject
    platform: PlatformFacts
    dag: DagFacts | None = None
    run: RunFacts | None = None
    active_runs: tuple[RunFacts, ...] = ()
    last_run: RunFacts | None = None
    spec: DagSpec | None = None
    counts: tuple[TaskCount, ...] = ()
    tasks: tuple[TaskFacts, ...] = ()
    pools: Mapping[str, PoolFacts] = field(default_factory=dict)
    holders: tuple[SlotHolder, ...] = ()
    concurrency: tuple[Concurrency, ...] = ()
    rivals: tuple[Rival, ...] = ()
    past: PastRun | None = None
    ahead: int | None = None
    events: tuple[TaskEvent, ...] = ()
    usual_s: float | None = None
    promises: tuple[Promise, ...] = ()
    breakers: tuple[OpenBreaker, ...] = ()
    limits: tuple[FullLimit, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    run_facts: tuple[Facts, ...] = ()
    unread: tuple[str, ...] = ()
