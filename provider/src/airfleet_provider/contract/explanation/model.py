"""What an explanation says, and its form as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

# The version of the JSON form. It grows when a key changes its meaning or goes.
CONTRACT = 1


class CauseSeverity(StrEnum):
    """How a cause ends. The values are in the order in which causes are shown."""

    BROKEN = "broken"
    """A part of the platform does not work, so the work of others waits too."""
    HELD = "held"
    """It stays so until a person acts."""
    WAITING = "waiting"
    """It ends by itself."""
    NOTE = "note"
    """It does not keep anything from running."""


RANK = {severity: rank for rank, severity in enumerate(CauseSeverity)}


class Code(StrEnum):
    """The name of a cause. Within a severity, causes are shown in this order."""

    SCHEDULER_SILENT = "scheduler-silent"
    BROKER_SILENT = "broker-silent"
    BROKER_ALARM = "broker-alarm"
    TRIGGERER_SILENT = "triggerer-silent"
    QUEUE_UNSERVED = "queue-unserved"
    WORKERS_DRAINING = "workers-draining"
    WORKERS_FULL = "workers-full"
    IMPORT_ERROR = "import-error"
    NOT_LIVE = "not-live"
    PAUSED = "paused"
    RUN_TYPE_REFUSED = "run-type-refused"
    NO_SCHEDULE = "no-schedule"
    BACKFILL_PAUSED = "backfill-paused"
    RUN_ENDED = "run-ended"
    TASK_FAILED = "task-failed"
    UPSTREAM_FAILED = "upstream-failed"
    TASK_SKIPPED = "task-skipped"
    TASK_REMOVED = "task-removed"
    POOL_MISSING = "pool-missing"
    POOL_TOO_SMALL = "pool-too-small"
    BREAKER_OPEN = "breaker-open"
    AWAITING_INPUT = "awaiting-input"
    DEPENDS_ON_PAST = "depends-on-past"
    TRIGGER_RULE = "trigger-rule"
    MAX_ACTIVE_RUNS = "max-active-runs"
    LOGICAL_DATE_AHEAD = "logical-date-ahead"
    NOT_DUE = "not-due"
    ASSETS_MISSING = "assets-missing"
    RETRY_DELAY = "retry-delay"
    RESCHEDULE_DELAY = "reschedule-delay"
    DEFERRED = "deferred"
    SERVICE_LIMIT = "service-limit"
    POOL_FULL = "pool-full"
    MAX_ACTIVE_TASKS = "max-active-tasks"
    BEHIND_ITS_RUN = "behind-its-run"
    TASK_CONCURRENCY = "task-concurrency"
    TASK_RUN_CONCURRENCY = "task-run-concurrency"
    PARALLELISM = "parallelism"
    EXECUTOR_LOST = "executor-lost"
    IN_QUEUE = "in-queue"
    HEARTBEAT_LATE = "heartbeat-late"
    BEHIND_OTHERS = "behind-others"
    EXPANDS = "expands"
    PROMISE = "promise"
    RUNS = "runs"
    RUNS_LONG = "runs-long"
    NEXT_LOOP = "next-loop"


ORDER = {code: place for place, code in enumerate(Code)}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is explained: a Dag, one of its runs, or one task instance of a run."""

    dag: str
    run: str | None = None
    task: str | None = None
    map_index: int = -1

    @property
    def kind(self) -> str:
        return "task" if self.task else "run" if self.run else "dag"

    @property
    def task_name(self) -> str:
        return name_task(self.task or "", self.map_index)


def name_task(task: str, map_index: int) -> str:
    """Return the name of a task instance within its run: `load`, or `load[3]` if it is mapped."""
    return task if map_index < 0 else f"{task}[{map_index}]"


@dataclass(frozen=True, slots=True)
class Blocker:
    """One thing that stands in the way. `kind` is task, run, worker, component, file, asset or slot_pool."""

    kind: str
    name: str
    state: str = ""
    since: datetime | None = None
    where: str = ""
    slots: int | None = None
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason, in the order of severity. `commands` are to type; the first one helps first.

    `figures` are the numbers in `what`. `count` is the number of task instances of which this is true.
    """

    code: Code
    severity: CauseSeverity
    what: str
    since: datetime | None = None
    until: datetime | None = None
    blockers: tuple[Blocker, ...] = ()
    unnamed: int = 0
    figures: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""
    commands: tuple[str, ...] = ()
    count: int = 1

    @property
    def blocks(self) -> bool:
        return self.severity is not CauseSeverity.NOTE


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the subject does not run, or what is true of it if nothing keeps it from running.

    `unknown` has a sentence for each fact that could not be read, so that no cause is missed in silence.
    """

    subject: Subject
    at: datetime
    state: str
    summary: str
    causes: tuple[Cause, ...] = ()
    since: datetime | None = None
    runs: tuple[Explanation, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def is_blocked(self) -> bool:
        return any(cause.blocks for cause in self.causes)


def sort(causes: Iterable[Cause]) -> tuple[Cause, ...]:
    """Return the causes, the most severe one first."""
    return tuple(sorted(causes, key=lambda cause: (RANK[cause.severity], ORDER[cause.code])))


def to_json(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as JSON. Moments are ISO 8601 in UTC, and `contract` is the version of this form."""
    return {"contract": CONTRACT, **_describe(explanation)}


def _describe(explanation: Explanation) -> dict[str, Any]:
    return {
        "subject": _describe_subject(explanation.subject),
        "at": _moment(explanation.at),
        "state": explanation.state,
        "since": _moment(explanation.since),
        "blocked": explanation.is_blocked,
        "summary": explanation.summary,
        "causes": [_describe_cause(cause) for cause in explanation.causes],
        "runs": [_describe(run) for run in explanation.runs],
        "unknown": list(explanation.unknown),
    }


def _describe_subject(subject: Subject) -> dict[str, Any]:
    return {
        "kind": subject.kind,
        "dag": subject.dag,
        "run": subject.run,
        "task": subject.task,
        "map_index": subject.map_index if subject.task else None,
    }


def _describe_cause(cause: Cause) -> dict[str, Any]:
    return {
        "code": cause.code.value,
        "severity": cause.severity.value,
        "what": cause.what,
        "since": _moment(cause.since),
        "until": _moment(cause.until),
        "blockers": [_describe_blocker(blocker) for blocker in cause.blockers],
        "unnamed_blockers": cause.unnamed,
        "figures": dict(cause.figures),
        "advice": cause.advice,
        "commands": list(cause.commands),
        "count": cause.count,
    }


def _describe_blocker(blocker: Blocker) -> dict[str, Any]:
    return {
        "kind": blocker.kind,
        "name": blocker.name,
        "state": blocker.state,
        "since": _moment(blocker.since),
        "where": blocker.where,
        "slots": blocker.slots,
        "subject": _describe_subject(blocker.subject) if blocker.subject else None,
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
