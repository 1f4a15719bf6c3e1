"""What the SLA engine knows of Airflow at one moment, as plain data. All moments are in UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from airfleet_provider.slas.instances import InstanceKey
from airfleet_provider.slas.prediction import Profile, TaskSpan

# Runs of this type repeat the past on request, and keep no promise.
BACKFILL = "backfill"
# Runs of this type are started by a person, and have no schedule.
MANUAL = "manual"
SUCCESS, FAILED = "success", "failed"
ENDED_RUN = frozenset({SUCCESS, FAILED})


@dataclass(frozen=True, slots=True)
class ObservedDag:
    """A Dag. `next_run` is when Airflow makes the next scheduled run; None if there is no schedule.

    `known_since` is when Airflow first saw the Dag.
    """

    dag_id: str
    tags: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()
    known_since: datetime | None = None
    next_run: datetime | None = None
    is_paused: bool = False
    is_stale: bool = False
    has_import_errors: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """A task in one run; a mapped task is one task, with a count of its instances.

    `ready_at` is when the first instance was ready, `started_at` when the first one started, and `ended_at` when the
    last one ended. `states` counts the instances by state.
    """

    states: Mapping[str, int] = field(default_factory=dict)
    ready_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def is_ended(self) -> bool:
        """Return whether no instance of the task can still run, unless a person clears it."""
        return bool(self.states) and _FINISHED.issuperset(self.states)

    @property
    def has_succeeded(self) -> bool:
        """Return whether every instance succeeded or was skipped."""
        return bool(self.states) and {"success", "skipped"}.issuperset(self.states)

    @property
    def has_failed(self) -> bool:
        """Return whether an instance has failed for good."""
        return bool({"failed", "upstream_failed"} & self.states.keys())


_FINISHED = frozenset({"success", "skipped", "failed", "upstream_failed", "removed"})


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """A Dag run. `tasks` is None if nobody needed the tasks."""

    dag_id: str
    run_id: str
    run_type: str
    run_after: datetime
    state: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    tasks: Mapping[str, Task] | None = None

    @property
    def is_ended(self) -> bool:
        """Return whether the run has ended."""
        return self.state in ENDED_RUN

    @property
    def spans(self) -> dict[str, TaskSpan]:
        """Return when the tasks started and ended."""
        return {name: TaskSpan(one.started_at, one.ended_at, one.is_ended) for name, one in (self.tasks or {}).items()}

    @property
    def first_start(self) -> datetime | None:
        """Return when the first task started; None also if the tasks are not known."""
        starts = [one.started_at for one in (self.tasks or {}).values() if one.started_at]
        return min(starts, default=None)


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset, its tasks that update it, and its updates.

    An update is the pair of when it was made, and of when the run that made it was due. For an update without a run,
    both are the same.
    """

    name: str
    uri: str
    producers: frozenset[tuple[str, str]] = frozenset()
    updates: tuple[tuple[datetime, datetime], ...] = ()


@dataclass(frozen=True)
class Observations:
    """Everything that one evaluation reads.

    `runs` has every run of an open instance, every run that began or ended since `evaluated_at`, and while a daily
    promise is open, every run that can keep it. `successes` has the ends of the successes of a Dag, or of one of its
    tasks, since `evaluated_at`. `rules_since` has the moment from which each rule counts, by its name and kind.
    `evaluated_at` is the moment of the evaluation before; None if this is the first. `closed` has instances that have
    ended before, and whose run a person has cleared: they are not begun again.
    """

    dags: Mapping[str, ObservedDag] = field(default_factory=dict)
    runs: Mapping[tuple[str, str], ObservedRun] = field(default_factory=dict)
    assets: Mapping[str, Asset] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    successes: Mapping[tuple[str, str], tuple[datetime, ...]] = field(default_factory=dict)
    rules_since: Mapping[tuple[str, str], datetime] = field(default_factory=dict)
    evaluated_at: datetime | None = None
    closed: frozenset[InstanceKey] = frozenset()

    def runs_of(self, dag_id: str) -> Sequence[ObservedRun]:
        """Return the runs of a Dag."""
        return self._by_dag.get(dag_id, ())

    @cached_property
    def _by_dag(self) -> Mapping[str, Sequence[ObservedRun]]:
        found: dict[str, list[ObservedRun]] = {}
        for run in self.runs.values():
            found.setdefault(run.dag_id, []).append(run)
        return found
