"""Read what the SLA engine must know, by indexes only: what it costs does not grow with the history (ADR 46).

Three sources say what happened: the active runs, the runs with a new id, and the runs that were active at the reading
before and are not any more. An engine that begins does not know the third: it looks for them among the last runs.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, LiteralString

from psycopg import Connection

from airfleet_provider.contract.sla_rules import DAILY, ENDED, PromiseKind, SlaRule
from airfleet_provider.contract.statements import Statements
from airfleet_provider.slas import engine
from airfleet_provider.slas.day_runs import DayRuns, RunKey
from airfleet_provider.slas.instances import Instance, InstanceKey
from airfleet_provider.slas.learning import Samples
from airfleet_provider.slas.observations import BACKFILL, Asset, Observations, ObservedDag, ObservedRun, Task
from airfleet_provider.slas.prediction import Profile
from airfleet_provider.slas.store import Cursor, read_instance

SQL = Statements(__package__, "reading")

Row = dict[str, Any]

# Tags, owners, tasks and assets are read again after so long. A Dag that is new then is seen.
CATALOGUE_AGE = timedelta(seconds=30)
# Structures of so many Dags are read at once.
MOST_STRUCTURES = 100
# Runs with ids so far below the newest one may be committed later than it.
ID_OVERLAP = 200
# An engine that begins looks for runs that ended while none worked among so many runs below the cursor. A run of which
# so many later runs were made while it was active is overlooked.
LAST_RUNS = 20_000
# A Dag without samples learns from so many runs of its past, and so many Dags do so in one reading.
BOOTSTRAP_RUNS, BOOTSTRAP_DAGS = 20, 5


@dataclass(frozen=True, slots=True)
class Structure:
    """The tasks of a version of a Dag, each with the tasks below it."""

    version: str
    downstream: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What changes seldom: the Dags and assets that a rule is about."""

    read_at: datetime
    dags: Mapping[str, ObservedDag] = field(default_factory=dict)
    assets: Mapping[str, tuple[int, Asset]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reading found. `memory` is what the next one needs; it counts once the evaluation is committed."""

    now: datetime
    seen: Observations
    instances: tuple[Instance, ...]
    cursor: Cursor
    ended: tuple[ObservedRun, ...]
    memory: ReaderMemory


@dataclass(frozen=True, slots=True)
class ReaderMemory:
    """What a reader keeps from one reading to the next."""

    rules: tuple[SlaRule, ...] = ()
    catalogue: Catalogue | None = None
    structures: Mapping[str, Structure] = field(default_factory=dict)
    known_since: Mapping[str, datetime] = field(default_factory=dict)
    samples: Mapping[str, Samples] | None = None
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    active: frozenset[RunKey] | None = None
    days: DayRuns = field(default_factory=DayRuns)
    # Instances that had ended, and whose runs are active again.
    closed: frozenset[InstanceKey] = frozenset()
    # The ids of runs above the cursor that were read before.
    seen: frozenset[int] = frozenset()


def read(connection: Connection[Row], rules: Sequence[SlaRule], memory: ReaderMemory) -> Reading:
    """Return the present state, as one snapshot. The connection is in a transaction that has read nothing yet."""
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    (row,) = _fetch(connection, SQL["cursor"])
    now: datetime = row["now"]
    cursor = Cursor.from_row(row, rules)
    recent = now - 2 * engine.OVERLAP
    instances = tuple(
        read_instance(one) for one in _fetch(connection, SQL["instances"], recent=recent, daily=now - engine.LOOK_BACK)
    )
    memory = _refresh(connection, rules, memory, now)
    catalogue = memory.catalogue
    assert catalogue is not None  # noqa: S101 - _refresh has just made it
    dags = _read_dags(connection, catalogue.dags)
    watched = sorted(dags)
    active = {_key(run): run for run in _read_runs(connection, SQL["active_runs"], dags=watched)}
    rows = _fetch(connection, SQL["new_runs"], last=cursor.last_run, seen=sorted(memory.seen), dags=watched)
    new = {_key(run): run for run in map(_read_run, rows)}
    open_ = [one for one in instances if one.state not in ENDED]
    gone = (memory.active or frozenset()) - active.keys()
    named = {(one.key.subject.dag_id, one.run_id) for one in open_ if one.run_id} - active.keys() - new.keys()
    wanted = sorted(gone | named)
    left = {
        _key(run): run
        for run in _read_runs(
            connection, SQL["named_runs"], dags=[one for one, _ in wanted], runs=[one for _, one in wanted]
        )
    }
    if memory.active is None:
        left |= {_key(run): run for run in _read_ended_meanwhile(connection, cursor, watched, now)}
    fresh = {**left, **new, **active}
    days = _read_days(connection, rules, instances, dags, cursor, memory.days, now).add(fresh)
    runs = {**days.runs, **fresh}
    detailed = _choose_detailed(rules, dags, runs, days.runs.keys() - fresh.keys())
    runs |= _read_tasks(connection, [runs[key] for key in detailed])
    ended = tuple(run for key, run in runs.items() if run.is_ended and (key in left or key in new))
    seen = Observations(
        dags=dags,
        runs=runs,
        assets=_read_assets(connection, catalogue.assets, open_, rules, cursor, now),
        profiles=memory.profiles,
        successes=_list_successes(open_, ended),
        rules_since=cursor.since,
        evaluated_at=cursor.evaluated_at,
        closed=memory.closed,
    )
    last = max(cursor.last_run, int(row["newest_run"]) - ID_OVERLAP)
    closed = frozenset(one for one in memory.closed if (one.subject.dag_id, one.occasion) in active)
    ids = frozenset(one for one in (*memory.seen, *(row["id"] for row in rows)) if one > last)
    after = replace(cursor, last_run=last, evaluated_at=now)
    return Reading(
        now,
        seen,
        instances,
        after,
        ended,
        replace(memory, active=frozenset(active), seen=ids, closed=closed, days=days),
    )


def bootstrap(connection: Connection[Row], memory: ReaderMemory) -> dict[str, Samples]:
    """Return samples of a few Dags that have none, from the runs of their past."""
    known, catalogue = memory.samples or {}, memory.catalogue
    missing = [dag_id for dag_id in sorted(catalogue.dags if catalogue else ()) if dag_id not in known]
    found = {}
    for dag_id in missing[:BOOTSTRAP_DAGS]:
        runs = list(_read_runs(connection, SQL["last_successes"], dag=dag_id, count=BOOTSTRAP_RUNS))
        samples = Samples()
        for run in sorted(_read_tasks(connection, runs).values(), key=lambda one: one.run_after):
            samples = samples.add(run, find_structure(memory, dag_id).downstream)
        found[dag_id] = samples
    return found


def find_structure(memory: ReaderMemory, dag_id: str) -> Structure:
    """Return the structure of the newest version of a Dag; without tasks if it is not known."""
    return memory.structures.get(dag_id, Structure(""))


def _fetch(connection: Connection[Row], statement: LiteralString, **values: object) -> list[Row]:
    return connection.execute(statement, values or None).fetchall()


def _read_runs(connection: Connection[Row], statement: LiteralString, **values: object) -> Iterator[ObservedRun]:
    return map(_read_run, _fetch(connection, statement, **values))


def _read_run(row: Row) -> ObservedRun:
    return ObservedRun(
        row["dag_id"],
        row["run_id"],
        row["run_type"],
        row["run_after"],
        row["state"] or "queued",
        row["start_date"],
        row["end_date"],
    )


def _key(run: ObservedRun) -> RunKey:
    return run.dag_id, run.run_id


def _refresh(
    connection: Connection[Row], rules: Sequence[SlaRule], memory: ReaderMemory, now: datetime
) -> ReaderMemory:
    """Return the memory with a catalogue that is not too old, and with the samples."""
    if memory.samples is None:
        samples = {one["dag_id"]: Samples.from_json(one["samples"]) for one in _fetch(connection, SQL["profiles"])}
        profiles = {dag_id: one for dag_id, own in samples.items() if (one := own.summarise())}
        memory = replace(memory, samples=samples, profiles=profiles)
    catalogue = memory.catalogue
    if catalogue and memory.rules == tuple(rules) and now - catalogue.read_at < CATALOGUE_AGE:
        return memory
    tags = {one["dag_id"]: frozenset(one["tags"]) for one in _fetch(connection, SQL["tags"])}
    assets = _read_catalogue_of_assets(connection, rules)
    producers = {dag_id for _, asset in assets.values() for dag_id, _ in asset.producers}
    dags = {}
    for row in _fetch(connection, SQL["dags"]):
        dag_id, owners = row["dag_id"], frozenset(one.strip() for one in row["owners"].split(","))
        if dag_id in producers or any(rule.matches_dag(dag_id, tags.get(dag_id, ()), owners) for rule in rules):
            dags[dag_id] = ObservedDag(dag_id, tags.get(dag_id, frozenset()), owners)
    versions = {one["dag_id"]: one for one in _fetch(connection, SQL["versions"], dags=sorted(dags))}
    structures = _read_structures(connection, {key: str(one["version"]) for key, one in versions.items()}, memory)
    known_since = {**{key: one["known_since"] for key, one in versions.items()}, **memory.known_since}
    dags = {
        dag_id: replace(
            dag,
            tasks=frozenset(structures[dag_id].downstream if dag_id in structures else ()),
            known_since=known_since.get(dag_id),
        )
        for dag_id, dag in dags.items()
    }
    catalogue = Catalogue(now, dags, assets)
    return replace(memory, rules=tuple(rules), catalogue=catalogue, structures=structures, known_since=known_since)


def _read_structures(
    connection: Connection[Row], versions: Mapping[str, str], memory: ReaderMemory
) -> dict[str, Structure]:
    kept = {dag_id: one for dag_id, one in memory.structures.items() if dag_id in versions}
    changed = [key for key, version in versions.items() if kept.get(key, Structure("")).version != version]
    for start in range(0, len(changed), MOST_STRUCTURES):
        part = [versions[dag_id] for dag_id in changed[start : start + MOST_STRUCTURES]]
        for row in _fetch(connection, SQL["structures"], versions=part):
            data = row["data"] or json.loads(zlib.decompress(row["data_compressed"] or zlib.compress(b"{}")))
            kept[row["dag_id"]] = Structure(str(row["version"]), _read_downstream(data))
    return kept


def _read_downstream(data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the tasks of a serialised Dag, each with the tasks below it."""
    found = {}
    for written in data.get("dag", {}).get("tasks", ()):
        task = written.get("__var", written)
        found[str(task["task_id"])] = tuple(task.get("downstream_task_ids", ()))
    return found


def _read_dags(connection: Connection[Row], catalogue: Mapping[str, ObservedDag]) -> dict[str, ObservedDag]:
    return {
        row["dag_id"]: replace(
            catalogue[row["dag_id"]],
            is_paused=row["is_paused"],
            is_stale=row["is_stale"],
            has_import_errors=row["has_import_errors"],
            next_run=row["next_run"],
        )
        for row in _fetch(connection, SQL["dags"])
        if row["dag_id"] in catalogue
    }


def _read_days(
    connection: Connection[Row],
    rules: Sequence[SlaRule],
    instances: Sequence[Instance],
    dags: Mapping[str, ObservedDag],
    cursor: Cursor,
    known_runs: DayRuns,
    now: datetime,
) -> DayRuns:
    """Return the runs that can keep the daily promises that are open, or that this evaluation opens."""
    open_ = [one for one in instances if one.key.kind is PromiseKind.FINISHED_BY and one.state not in ENDED]
    starts = [one.starts_at for one in open_]
    wanted = {one.key.subject.dag_id for one in open_}
    known = {one.key for one in instances}
    blank = Observations(dags=dags, rules_since=cursor.since, evaluated_at=cursor.evaluated_at)
    for rule in rules:
        if rule.kind is PromiseKind.FINISHED_BY:
            for one in engine.list_opened(rule, blank, now):
                if one.key not in known:
                    starts.append(one.starts_at)
                    wanted.add(one.key.subject.dag_id)
    if not wanted:
        return DayRuns()
    since = min(starts)
    if known_runs.holds(wanted, since, now):
        return known_runs
    runs = _read_runs(connection, SQL["runs_of_days"], since=since, dags=sorted(wanted))
    return DayRuns(since, frozenset(wanted), now, {_key(run): run for run in runs})


def _choose_detailed(
    rules: Sequence[SlaRule],
    dags: Mapping[str, ObservedDag],
    runs: Mapping[RunKey, ObservedRun],
    of_days: Iterable[RunKey],
) -> list[RunKey]:
    """Return the runs whose tasks are read: those that are active or have just ended, and those of a daily task."""
    by_task = [rule for rule in rules if rule.task is not None and rule.kind in DAILY]
    skipped = {
        key
        for key in of_days
        if not any(
            rule.matches_dag(key[0], dags[key[0]].tags, dags[key[0]].owners) for rule in by_task if key[0] in dags
        )
    }
    return [key for key, run in runs.items() if key not in skipped and run.run_type != BACKFILL]


def _read_tasks(connection: Connection[Row], runs: Sequence[ObservedRun]) -> dict[RunKey, ObservedRun]:
    """Return the runs with their tasks."""
    if not runs:
        return {}
    found: dict[RunKey, dict[str, Task]] = defaultdict(dict)
    values = {"dags": [run.dag_id for run in runs], "runs": [run.run_id for run in runs]}
    for row in _fetch(connection, SQL["tasks"], **values):
        tasks = found[row["dag_id"], row["run_id"]]
        old = tasks.get(row["task_id"], Task())
        tasks[row["task_id"]] = Task(
            {**old.states, row["state"]: row["count"]},
            min(filter(None, (old.ready_at, row["ready_at"])), default=None),
            min(filter(None, (old.started_at, row["started_at"])), default=None),
            max(filter(None, (old.ended_at, row["ended_at"])), default=None),
        )
    return {_key(run): replace(run, tasks=found.get(_key(run), {})) for run in runs}


def _read_catalogue_of_assets(connection: Connection[Row], rules: Sequence[SlaRule]) -> dict[str, tuple[int, Asset]]:
    if not any(rule.kind is PromiseKind.FRESH_BY for rule in rules):
        return {}
    return {
        row["name"]: (row["id"], Asset(row["name"], row["uri"], frozenset((a, b) for a, b in row["producers"])))
        for row in _fetch(connection, SQL["assets"])
        if any(rule.matches_asset(row["name"], row["uri"]) for rule in rules)
    }


def _read_assets(
    connection: Connection[Row],
    catalogue: Mapping[str, tuple[int, Asset]],
    open_: Sequence[Instance],
    rules: Sequence[SlaRule],
    cursor: Cursor,
    now: datetime,
) -> dict[str, Asset]:
    """Return the assets, with the updates since the start of their oldest open promise."""
    if not catalogue:
        return {}
    blank = Observations(
        assets={name: asset for name, (_, asset) in catalogue.items()},
        rules_since=cursor.since,
        evaluated_at=cursor.evaluated_at,
    )
    starts: dict[str, datetime] = {}
    opened = [
        one for rule in rules if rule.kind is PromiseKind.FRESH_BY for one in engine.list_opened(rule, blank, now)
    ]
    for one in (*open_, *opened):
        name = one.key.subject.asset
        if name in catalogue:
            starts[name] = min(one.starts_at, starts.get(name, one.starts_at))
    ids = {catalogue[name][0]: name for name in starts}
    updates: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    for row in _fetch(connection, SQL["updates"], assets=list(ids), since=[starts[name] for name in ids.values()]):
        updates[ids[row["asset_id"]]].append((row["made_at"], row["due_at"]))
    return {name: replace(asset, updates=tuple(sorted(updates[name]))) for name, (_, asset) in catalogue.items()}


def _read_ended_meanwhile(
    connection: Connection[Row], cursor: Cursor, dags: Sequence[str], now: datetime
) -> Iterator[ObservedRun]:
    """Return the runs that were active when the last engine worked, and have ended since."""
    ended_after = (cursor.evaluated_at or now) - engine.OVERLAP
    first = cursor.last_run - LAST_RUNS
    return _read_runs(connection, SQL["ended_runs"], first=first, ended_after=ended_after, dags=dags)


def _list_successes(open_: Sequence[Instance], ended: Sequence[ObservedRun]) -> dict[RunKey, tuple[datetime, ...]]:
    """Return the ends of successes of Dags and tasks that must run, in order."""
    wanted = {
        (one.key.subject.dag_id, one.key.subject.task_id) for one in open_ if one.key.kind is PromiseKind.MUST_RUN
    }
    found: dict[RunKey, set[datetime]] = defaultdict(set)
    for run in ended:
        if run.state == "success" and run.ended_at and (run.dag_id, "") in wanted and run.run_type != BACKFILL:
            found[run.dag_id, ""].add(run.ended_at)
        for name, task in (run.tasks or {}).items():
            if (run.dag_id, name) in wanted and task.has_succeeded and task.ended_at:
                found[run.dag_id, name].add(task.ended_at)
    return {key: tuple(sorted(ends)) for key, ends in found.items()}
