"""What a cut-over reads and writes in a metadata database: that of Airflow 2, or that of airfleet's Airflow 3."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import psycopg

from airfleet.errors import AirfleetError

Rows = psycopg.Connection[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class EndedRun:
    """An automated run that has ended, with its data interval."""

    run_id: str
    logical_date: datetime
    start: datetime
    end: datetime
    state: str
    began: datetime | None
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class DagState:
    """A Dag as a platform has it. `schedule` is what makes its runs, as text that two platforms have in common.

    `active` counts runs that are queued or running, and `events` the datasets that have been written for its next run.
    `partners` are Dags that this one waits for, or that wait for it. `needs` are those of them that an unfinished run
    of this one needs: it triggers them, writes their datasets, or waits for them.
    """

    dag_id: str
    is_paused: bool
    schedule: str
    active: int
    last: EndedRun | None
    partners: frozenset[str]
    events: int = 0
    needs: frozenset[str] = frozenset()


class CutoverSide(Protocol):
    """One side of a cut-over."""

    name: str

    def read(self, dag_id: str) -> DagState | None:
        """Return the Dag, or None if the platform has no such active Dag."""

    def pause(self, dag_id: str, *, pause: bool) -> None:
        """Pause or unpause a Dag. Its scheduler makes no run and starts no task while it is paused."""

    def list_since(self, dag_id: str, moment: datetime | None) -> Sequence[EndedRun]:
        """Return the automated runs with a logical date after a moment, the oldest first."""

    def hold(self, dag_id: str) -> AbstractContextManager[DagState | None]:
        """Return a context in which nobody else pauses or unpauses the Dag, and its scheduler makes no run of it."""

    def seed(self, dag_id: str, runs: Sequence[EndedRun]) -> None:
        """Have these runs, which ended elsewhere, so that the next run follows the last of them. Repeatable."""


# What Airflow 3 has renamed in timetables, and what it alone writes. None of it changes which run follows another.
_RENAMED = {
    "DatasetTriggeredTimetable": "AssetTriggeredTimetable",
    "DatasetOrTimeSchedule": "AssetOrTimeSchedule",
    "dataset_condition": "asset_condition",
    # Runs that begin later than their cron says follow each other in the same order.
    "JitteredCronDataIntervalTimetable": "CronDataIntervalTimetable",
    "JitteredCronTriggerTimetable": "CronTriggerTimetable",
}
_ADDED = {"CronTriggerTimetable": "run_immediately", "EventsTimetable": "description"}


def describe_schedule(timetable: object) -> str:
    """Return a serialized timetable of Airflow 2 or 3 as text: the name of its class and what it was made with."""
    if not isinstance(timetable, dict):
        return "unknown"
    kind = str(timetable.get("__type", "")).rpartition(".")[2]
    kind = _RENAMED.get(kind, kind)
    made = timetable.get("__var")
    words = dict(made) if isinstance(made, dict) else {}
    words = {_RENAMED.get(key, key): value for key, value in words.items() if key not in ("jitter_s", _ADDED.get(kind))}
    if "timetable" in words:
        words["timetable"] = describe_schedule(words["timetable"])
    if isinstance(dates := words.get("event_dates"), list):
        words["event_dates"] = [str(one).replace(" ", "T") for one in dates]
    return f"{kind} {json.dumps(_plain(words), sort_keys=True)}" if words else kind


def _plain(value: object) -> object:
    """Return a value without the marks of Airflow's serialization, which differ between versions."""
    if isinstance(value, dict):
        if set(value) == {"__type", "__var"}:
            return _plain(value["__var"])
        # A dataset is an asset in Airflow 3. Its URI is what both have of it.
        match str(value.get("__type", "")).replace("dataset", "asset"):
            case "asset":
                return {"asset": value.get("uri")}
            case "asset_alias":
                return {"asset_alias": value.get("name")}
            case "asset_all" | "asset_any" as kind:
                return {kind: _plain(value.get("objects"))}
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


def find_partners(dag_id: str, dependencies: Mapping[str, object]) -> frozenset[str]:
    """Return the Dags that are tied to one by sensors, triggers, or datasets. `dependencies` are of all Dags."""
    tied = {other for pair in _list_ties(dependencies) if dag_id in pair for other in pair}
    return frozenset(tied - {dag_id})


def find_needs(dag_id: str, dependencies: Mapping[str, object]) -> frozenset[str]:
    """Return the Dags that an unfinished run of one needs. `dependencies` are of all Dags."""
    return frozenset(other for needy, other in _list_ties(dependencies) if needy == dag_id != other)


def _list_ties(dependencies: Mapping[str, object]) -> set[tuple[str, str]]:
    """Return pairs of Dags of which unfinished runs of the first need the second."""
    ties: set[tuple[str, str]] = set()
    makers: dict[str, set[str]] = {}
    users: dict[str, set[str]] = {}
    for owner, listed in dependencies.items():
        for one in listed if isinstance(listed, list) else []:
            source, target, kind = one.get("source"), one.get("target"), one.get("dependency_type")
            if kind == "sensor":
                ties.add((target, source))
            elif kind == "trigger":
                ties.add((source, target))
            elif target == kind:
                makers.setdefault(str(one.get("dependency_id")), set()).add(owner)
            elif source == kind:
                users.setdefault(str(one.get("dependency_id")), set()).add(owner)
    return ties | {(maker, user) for name, some in makers.items() for maker in some for user in users.get(name, ())}


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements for one version of Airflow."""

    read_dag: str
    read_dependencies: str
    read_last: str
    read_since: str
    pause: str
    hold: str
    seed_run: str
    seed_next: str


class PlatformDatabase:
    """One platform over its metadata database."""

    def __init__(self, connection: Rows, sql: Queries, name: str) -> None:
        self.name = name
        self._connection = connection
        self._sql = sql

    def _query(self, sql: str, **words: object) -> list[dict[str, Any]]:
        try:
            cursor = self._connection.execute(sql.encode(), words)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            said = str(error).strip().splitlines()[0]
            raise AirfleetError(f"the database refused a statement: {said}", where=self.name) from None

    def read(self, dag_id: str) -> DagState | None:
        """Return the Dag, or None if the platform has no such active Dag."""
        found = self._query(self._sql.read_dag, dag=dag_id)
        if not found:
            return None
        [row] = found
        dependencies = {one["dag_id"]: one["dependencies"] for one in self._query(self._sql.read_dependencies)}
        last = [self._build(one) for one in self._query(self._sql.read_last, dag=dag_id)]
        return DagState(
            dag_id,
            bool(row["is_paused"]),
            describe_schedule(row["timetable"]),
            int(row["active"]),
            last[0] if last else None,
            find_partners(dag_id, dependencies),
            int(row["events"]),
            find_needs(dag_id, dependencies),
        )

    def pause(self, dag_id: str, *, pause: bool) -> None:
        """Pause or unpause a Dag."""
        self._query(self._sql.pause, dag=dag_id, pause=pause)

    @contextmanager
    def hold(self, dag_id: str) -> Iterator[DagState | None]:
        """Lock the row of the Dag, and yield what the Dag is then. A killed command loses the lock."""
        with self._connection.transaction():
            self._query(self._sql.hold, dag=dag_id)
            yield self.read(dag_id)

    def list_since(self, dag_id: str, moment: datetime | None) -> Sequence[EndedRun]:
        """Return the automated runs with a logical date after a moment, the oldest first."""
        return [self._build(one) for one in self._query(self._sql.read_since, dag=dag_id, moment=moment)]

    def seed(self, dag_id: str, runs: Sequence[EndedRun]) -> None:
        """Have these runs, and let the next run follow the last of them."""
        if not runs:
            return
        with self._connection.transaction():
            for one in runs:
                self._query(
                    self._sql.seed_run,
                    dag=dag_id,
                    run=one.run_id,
                    logical_date=one.logical_date,
                    start=one.start,
                    end=one.end,
                    state=one.state,
                    began=one.began,
                    ended=one.ended,
                )
            there = {one.logical_date for one in self.list_since(dag_id, None)}
            if missing := [one.run_id for one in runs if one.logical_date not in there]:
                raise AirfleetError(f"{dag_id} already has another run of the id {missing[0]}", where=self.name)
            last = runs[-1]
            self._query(self._sql.seed_next, dag=dag_id, logical_date=last.logical_date, start=last.start, end=last.end)

    def _build(self, row: Mapping[str, Any]) -> EndedRun:
        moment, end = row["logical_date"], row["interval_end"] or row["logical_date"]
        start = row["interval_start"] or moment
        return EndedRun(row["run_id"], moment, start, end, row["state"], row["start_date"], row["end_date"])
