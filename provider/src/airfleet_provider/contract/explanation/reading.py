"""Reads the facts for an explanation from the metadata database, with a function that runs one statement."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, LiteralString

from airfleet_provider.contract.explanation import structure
from airfleet_provider.contract.explanation.facts import (
    Concurrency,
    DagFacts,
    Facts,
    FullLimit,
    ImportFailure,
    JobFacts,
    OpenBreaker,
    PastRun,
    PlatformFacts,
    PoolFacts,
    Promise,
    QueueActivity,
    Rival,
    RunFacts,
    SchedulerLease,
    SlotHolder,
    TaskCount,
    TaskEvent,
    TaskFacts,
)
from airfleet_provider.contract.explanation.model import Subject
from airfleet_provider.contract.explanation.structure import DagSpec
from airfleet_provider.contract.statements import Statements

# Runs a statement with parameters, and returns its rows by column name.
Query = Callable[[LiteralString, Mapping[str, Any]], Sequence[Mapping[str, Any]]]

SQL = Statements(__package__, "reading")

MOST_TASKS = 500
MOST_HOLDERS = 5
MOST_RUNS = 5
# Of a Dag, this many of its active runs are explained too, the oldest first.
MOST_NESTED = 2
# Fewer past durations say nothing of what is usual.
LEAST_HISTORY = 5
_PLACE = re.compile(r'File "(?:[^"]*/)?((?:dags|include|plugins)/[^"]+)", line (\d+)')
_NAMED = re.compile(r"(?P<task>[^\[\]]+)(?:\[(?P<index>\d+)\])?")


class NotFoundError(Exception):
    """There is no such Dag, run or task. `near` has names that were perhaps meant."""

    def __init__(self, what: str, near: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.near = tuple(near)


def resolve(query: Query, dag: str, run: str | None, task: str | None) -> Subject:
    """Return the subject that a user means.

    `run` is a run id, a part of one, or `latest`. If there is no such run, it is a task of the latest run. `task` is a
    task id, with the map index of a mapped task in brackets.

    Raises:
        NotFoundError: There is no such run, or several have this part.
    """
    if run is None and task is None:
        return Subject(dag)
    found = _find_run(query, dag, run)
    if found is None and run == "latest":
        raise NotFoundError(f"the Dag {dag} has no run yet")
    if found is None and task is None and run is not None:
        found, task = _find_run(query, dag, None), run
        if found is None or not _has_task(query, dag, found, task):
            newest = query(SQL["newest_runs"], {"dag": dag, "part": None, "limit": MOST_RUNS})
            raise NotFoundError(f"the Dag {dag} has no run and no task {run!r}", [row["run"] for row in newest])
    if found is None:
        newest = query(SQL["newest_runs"], {"dag": dag, "part": None, "limit": MOST_RUNS})
        raise NotFoundError(f"the Dag {dag} has no run {run or 'yet'}", [row["run"] for row in newest])
    if task is None:
        return Subject(dag, found)
    name, index = parse_task(task)
    return Subject(dag, found, name, -1 if index is None else index)


def parse_task(text: str) -> tuple[str, int | None]:
    """Return the task id and the map index of `load[3]`, or None as the index of `load`."""
    named = _NAMED.fullmatch(text)
    if named is None:
        return text, None
    return named["task"], None if named["index"] is None else int(named["index"])


def _find_run(query: Query, dag: str, run: str | None) -> str | None:
    if run is not None and query(SQL["run"], {"dag": dag, "run": run}):
        return run
    part = None if run in (None, "latest") else run
    found = [str(row["run"]) for row in query(SQL["newest_runs"], {"dag": dag, "part": part, "limit": MOST_RUNS})]
    if part is not None and len(found) > 1:
        raise NotFoundError(f"several runs of the Dag {dag} have {run!r} in their id", found)
    return found[0] if found else None


def _has_task(query: Query, dag: str, run: str, task: str) -> bool:
    return bool(_read_tasks(query, Subject(dag, run, parse_task(task)[0]), None))


def read(query: Query, subject: Subject, *, executor: str | None = None, parallelism: int | None = None) -> Facts:
    """Return the facts about a subject. `query` should run all statements in one snapshot.

    `executor` is "local" or "celery", and `parallelism` Airflow's setting: the database knows neither.
    """
    (clock,) = query(SQL["now"], {})
    platform = replace(read_platform(query), executor=executor, parallelism=parallelism)
    facts = Facts(now=clock["now"], subject=subject, platform=platform, dag=_read_dag(query, subject.dag))
    if facts.dag is None:
        return replace(facts, dag=None)
    promises = query(SQL["promises"], {"dag": subject.dag}) if clock["has_slas"] else ()
    breakers = query(SQL["breakers"], {"dag": subject.dag}) if clock["has_breakers"] else ()
    limits = query(SQL["limits"], {"dag": subject.dag}) if clock["has_limits"] else ()
    facts = replace(
        facts,
        limits=tuple(FullLimit(**row) for row in limits),
        breakers=tuple(OpenBreaker(**row) for row in breakers),
        active_runs=_read_runs(query, SQL["active_runs"], dag=subject.dag),
        promises=tuple(Promise(**row) for row in promises),
    )
    return _read_newest(query, facts) if subject.run is None else _read_run(query, facts, subject.run)


def read_platform(query: Query) -> PlatformFacts:
    """Return the state of what all Dags share, as far as the database knows it."""
    leases = query(SQL["lease"], {})
    candidates = tuple((row["name"], row["state"]) for row in query(SQL["candidates"], {}))
    return PlatformFacts(
        jobs=tuple(JobFacts(**row) for row in query(SQL["jobs"], {})),
        lease=SchedulerLease(**leases[0], candidates=candidates) if leases else None,
        activity=tuple(QueueActivity(**row) for row in query(SQL["activity"], {})),
    )


def read_pools(query: Query) -> tuple[PoolFacts, ...]:
    """Return all slot pools with the slots that are taken."""
    return tuple(PoolFacts(**row) for row in query(SQL["pools"], {}))


def list_failures(query: Query) -> tuple[ImportFailure, ...]:
    """Return the Dag files that do not load."""
    return _read_failures(query, None, None)


def list_dags(query: Query) -> list[str]:
    """Return the ids of all Dags that the database knows."""
    return [row["dag"] for row in query(SQL["like_dags"], {})]


def _read_dag(query: Query, dag: str) -> DagFacts | None:
    rows = query(SQL["dag"], {"dag": dag})
    if not rows:
        return None
    row = dict(rows[0])
    types = row.pop("run_types")
    facts = DagFacts(**row, run_types=tuple(types) if types else None)
    if facts.file and (facts.has_import_errors or facts.is_stale):
        facts = replace(facts, failures=_read_failures(query, facts.file, facts.bundle))
    if facts.by_assets:
        assets = query(SQL["assets"], {"dag": dag})
        facts = replace(
            facts,
            missing_assets=tuple(row["name"] for row in assets if not row["seen"]),
            known_assets=tuple(row["name"] for row in assets if row["seen"]),
        )
    return facts


def _read_failures(query: Query, file: str | None, bundle: str | None) -> tuple[ImportFailure, ...]:
    rows = query(SQL["failures"], {"file": file, "bundle": bundle})
    return tuple(ImportFailure(**{**row, "message": describe_failure(row["message"])}) for row in rows)


def describe_failure(trace: str) -> str:
    """Return the last line of a traceback, with the file and line of the project that led to it."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    places = _PLACE.findall(trace)
    where = f" ({places[-1][0]}:{places[-1][1]})" if places else ""
    return f"{lines[-1]}{where}" if lines else "no message"


def _read_runs(query: Query, statement: LiteralString, **words: object) -> tuple[RunFacts, ...]:
    return tuple(RunFacts(**row) for row in query(statement, words))


def _read_newest(query: Query, facts: Facts) -> Facts:
    newest = query(SQL["newest_runs"], {"dag": facts.subject.dag, "part": None, "limit": 1})
    runs = _read_runs(query, SQL["run"], dag=facts.subject.dag, run=newest[0]["run"]) if newest else ()
    oldest = [
        _read_run(query, replace(facts, subject=Subject(facts.subject.dag, run.run), promises=()), run.run)
        for run in facts.active_runs[:MOST_NESTED]
    ]
    return replace(facts, last_run=runs[0] if runs else None, run_facts=tuple(oldest))


def _read_run(query: Query, facts: Facts, run: str) -> Facts:
    subject = facts.subject
    found = _read_runs(query, SQL["run"], dag=subject.dag, run=run)
    if not found:
        return facts
    facts = replace(facts, run=found[0])
    spec, unread = read_spec(query, subject.dag, release=found[0].release, version=found[0].version)
    by_index = any(task.mapped_group for task in spec.tasks.values()) if spec else False
    where = {"dag": subject.dag, "run": run, "by_index": by_index}
    tasks = _read_tasks(query, subject, subject.map_index if subject.map_index >= 0 else None)
    facts = replace(
        facts,
        spec=spec,
        unread=(*facts.unread, *unread),
        counts=tuple(TaskCount(**row) for row in query(SQL["counts"], where)),
        tasks=tasks,
        pools={pool.name: pool for pool in read_pools(query)},
    )
    waiting = [task for task in tasks if task.state == "scheduled"]
    if waiting:
        pools = sorted({task.pool for task in waiting})
        facts = replace(
            facts,
            holders=tuple(SlotHolder(**row) for row in query(SQL["holders"], {"pools": pools, "limit": MOST_HOLDERS})),
            concurrency=tuple(Concurrency(**row) for row in query(SQL["concurrency"], {"dag": subject.dag})),
            rivals=tuple(
                Rival(**row) for row in query(SQL["rivals"], {"dag": subject.dag, "run": run, "limit": MOST_TASKS})
            ),
        )
    facts = _read_past(query, facts)
    return _read_one_task(query, facts, tasks[0]) if subject.task and len(tasks) == 1 else facts


def _read_tasks(query: Query, subject: Subject, map_index: int | None) -> tuple[TaskFacts, ...]:
    words = {"dag": subject.dag, "run": subject.run, "task": subject.task, "map_index": map_index, "limit": MOST_TASKS}
    return tuple(TaskFacts(**row) for row in query(SQL["tasks"], words))


def read_spec(
    query: Query, dag: str, *, release: str | None, version: str | None
) -> tuple[DagSpec | None, tuple[str, ...]]:
    """Return the structure that a run of a Dag has, or None with the reason why it is not known."""
    rows = query(SQL["spec"], {"dag": dag, "release": release, "version": version})
    if not rows:
        return None, ("the serialised Dag is not in the database, so trigger rules are not known",)
    if not isinstance(rows[0]["data"], Mapping):
        return None, ("the serialised Dag is compressed, so trigger rules are not known",)
    try:
        return structure.read(rows[0]["data"]), ()
    except (KeyError, TypeError, ValueError) as error:
        return None, (f"the serialised Dag has an unknown form ({error!r}), so trigger rules are not known",)


def _read_past(query: Query, facts: Facts) -> Facts:
    """Add the previous run, if a task that has not started depends on its past."""
    run, spec = facts.run, facts.spec
    names = sorted({task.task for task in facts.tasks if task.state in ("none", "up_for_retry", "up_for_reschedule")})
    depends = [name for name in names if spec and name in spec.tasks and spec.tasks[name].depends_on_past]
    if not depends or run is None or spec is None or run.logical_date is None:
        return facts
    dag = facts.subject.dag
    rows = query(SQL["past"], {"dag": dag, "logical_date": run.logical_date, "scheduled": spec.catchup})
    if not rows:
        return facts
    counts = query(SQL["counts"], {"dag": dag, "run": rows[0]["run"], "by_index": False})
    prior = query(SQL["prior"], {"dag": dag, "logical_date": run.logical_date, "tasks": depends})
    past = PastRun(rows[0]["run"], tuple(TaskCount(**row) for row in counts), frozenset(row["task"] for row in prior))
    return replace(facts, past=past)


def _read_place(query: Query, limit: FullLimit, where: Mapping[str, Any]) -> FullLimit:
    """Return a limit with the place of a task instance in its queue."""
    if limit.task != where["task"]:
        return limit
    (row,) = query(SQL["limit_place"], {**where, "name": limit.name})
    return replace(limit, place=row["place"])


def _read_one_task(query: Query, facts: Facts, task: TaskFacts) -> Facts:
    dag, run = facts.subject.dag, facts.run
    logical_date: datetime | None = run.logical_date if run else None
    where = {"dag": dag, "run": facts.subject.run, "task": task.task, "map_index": task.map_index}
    facts = replace(facts, events=tuple(TaskEvent(**row) for row in query(SQL["events"], where)))
    if task.state == "scheduled":
        order = {"pool": task.pool, "priority": task.priority, "logical_date": logical_date}
        (row,) = query(SQL["ahead"], {**order, "map_index": task.map_index})
        facts = replace(facts, ahead=row["count"])
        facts = replace(facts, limits=tuple(_read_place(query, one, where) for one in facts.limits))
    if task.state == "running":
        (row,) = query(SQL["usual"], {"dag": dag, "task": task.task, "run": facts.subject.run})
        facts = replace(facts, usual_s=row["usual_s"] if row["count"] >= LEAST_HISTORY else None)
    return facts
