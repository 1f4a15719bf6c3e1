"""Explain why a Dag, a run or a task instance does not run, from the database and the workers of a platform."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from airfleet.components import settings
from airfleet.errors import AirfleetError, DatabaseAwayError, UsageError
from airfleet.operations import metadata_database, task_logs
from airfleet.spec.fleet import Fleet
from airfleet.workspace.project import find_project, find_state, read_fleet
from airfleet_provider.contract.explanation import reading, task_log, words
from airfleet_provider.contract.explanation.explain import explain
from airfleet_provider.contract.explanation.facts import Facts, WorkerState
from airfleet_provider.contract.explanation.model import Explanation
from airfleet_provider.contract.explanation.reading import NotFoundError, Query

CONNECT_S = 10
STATEMENT_MS = 5000
CLOSEST = 3
# Logs that are read for the explanation of a run, and bytes from the end of each.
MOST_LOGS, LOG_BYTES = 5, 1 << 20


@dataclass(frozen=True, slots=True)
class ReadablePlatform:
    """A platform whose database can be read: its project, and the fleet that runs it."""

    project: Path
    state: Path | None
    fleet: Fleet

    @property
    def executor(self) -> str:
        return "celery" if self.fleet.hosts else self.fleet.executor

    @property
    def parallelism(self) -> int:
        """Return Airflow's setting `[core] parallelism`."""
        is_small = not self.fleet.hosts and self.executor == "celery"
        return self.fleet.parallelism * (settings.IN_FLIGHT if is_small else 1)


def find_place(project: Path, state: Path | None) -> ReadablePlatform:
    """Return the platform of a project.

    Raises:
        UsageError: There is no such project, or its fleet.yaml is wrong.
    """
    found = find_project(project)
    return ReadablePlatform(found, state, read_fleet(found))


class Snapshots:
    """An open connection to a metadata database. It only reads."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self._connection = connection

    @contextmanager
    def take(self) -> Iterator[Query]:
        """Yield a function that reads. All that it reads is of one moment.

        Raises:
            AirfleetError: The database does not answer.
        """

        def query(sql: LiteralString, parameters: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
            return self._connection.execute(sql, parameters).fetchall()

        with _translate(), self._connection.transaction():
            yield query


@contextmanager
def open_database(place: ReadablePlatform) -> Iterator[Snapshots]:
    """Open the metadata database of a platform.

    Raises:
        AirfleetError: No platform runs there, or its database does not answer.
    """
    with ExitStack() as stack:
        dsn = stack.enter_context(metadata_database.reach(place.fleet, place.project, place.state, must_run=True))
        with _translate():
            connection = stack.enter_context(
                psycopg.connect(
                    dsn.reveal(),
                    connect_timeout=CONNECT_S,
                    row_factory=dict_row,
                    options=f"-c statement_timeout={STATEMENT_MS} -c timezone=UTC",
                )
            )
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        yield Snapshots(connection)


@contextmanager
def _translate() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        said = (str(error) or type(error).__name__).strip().splitlines()[0]
        kind = DatabaseAwayError if isinstance(error, psycopg.OperationalError) else AirfleetError
        raise kind(f"cannot read the metadata database: {said}", hint="airfleet status") from None


def look(place: ReadablePlatform, dag: str, run: str | None, task: str | None) -> Explanation:
    """Explain a Dag, a run of it, or a task of a run. `run` and `task` are as the user writes them.

    Raises:
        UsageError: There is no such Dag, run or task.
        AirfleetError: The database cannot be read.
    """
    with open_database(place) as database, database.take() as query:
        try:
            subject = reading.resolve(query, dag, run, task)
        except NotFoundError as error:
            check_dag(query, dag)
            raise UsageError(error.what, hint=suggest_run(error, dag)) from None
        facts = reading.read(query, subject, executor=place.executor, parallelism=place.parallelism)
        if facts.dag is None:
            check_dag(query, dag)
        if subject.task and not facts.tasks:
            names = sorted({one.task for one in facts.counts})
            near = difflib.get_close_matches(subject.task, names, CLOSEST) or names[:CLOSEST]
            raise UsageError(f"the run {subject.run} has no task {subject.task_name}", hint=suggest(near))
    return explain(add_errors(place, add_workers(place, facts)))


def add_workers(place: ReadablePlatform, facts: Facts) -> Facts:
    """Return the facts with the state of broker and workers, if a task waits in a queue of Celery's."""
    tasks = [task for one in (facts, *facts.run_facts) for task in one.tasks]
    if place.executor != "celery" or all(task.state != "queued" for task in tasks):
        return facts
    from airfleet.operations import broker  # noqa: PLC0415 - only a queued task needs what speaks SSH

    platform, unread = facts.platform, facts.unread
    with ThreadPoolExecutor(1) as beside, ExitStack() as stack:
        here = find_state(place.project, place.state)
        if place.fleet.hosts:
            asked = beside.submit(broker.read_fleet, place.fleet, place.project)
        elif place.fleet.broker:
            asked = beside.submit(broker.read_outside, place.fleet, place.project)
        else:
            asked = beside.submit(broker.read_here, here)
        try:
            platform = replace(platform, workers=open_workers(stack, place)())
        except AirfleetError as error:
            unread = (*unread, f"the workers could not be asked: {error.what}")
        platform = replace(platform, broker=asked.result())
    runs = tuple(replace(one, platform=platform) for one in facts.run_facts)
    return replace(facts, platform=platform, run_facts=runs, unread=unread)


def open_workers(stack: ExitStack, place: ReadablePlatform) -> Callable[[], tuple[WorkerState, ...]]:
    """Return a function that reads the state of every Celery worker. Connections stay open until the stack closes."""
    from airfleet.operations.workers import access  # noqa: PLC0415 - only these need what speaks SSH

    workers = access.find(stack, place.project, place.state)

    def read() -> tuple[WorkerState, ...]:
        return tuple(
            WorkerState(one.name, one.state, one.queues, one.slots, sum(task.running for task in one.tasks), one.why)
            for one in workers.read()
        )

    return read


def add_errors(place: ReadablePlatform, facts: Facts) -> Facts:
    """Return the facts with the first error of failed tasks, from logs on this machine. Those of a fleet are not."""
    facts = replace(facts, run_facts=tuple(add_errors(place, one) for one in facts.run_facts))
    failed = [task for task in facts.tasks if task.state in ("failed", "up_for_retry")][:MOST_LOGS]
    run = facts.subject.run
    if place.fleet.hosts or run is None:
        return facts
    errors = {}
    for task in failed:
        lines = task_logs.read_end(place.project, place.state, facts.subject.dag, run, task, most_bytes=LOG_BYTES)
        if error := task_log.find_error(lines):
            errors[words.name(task)] = error
    return replace(facts, errors=errors)


def check_dag(query: Query, dag: str) -> None:
    """Raise an error that says what is near, if there is no such Dag."""
    known = reading.list_dags(query)
    if dag in known:
        return
    broken = reading.list_failures(query)
    near = difflib.get_close_matches(dag, known, CLOSEST)
    hint = suggest(near) if near else "airfleet airflow dags list"
    if broken:
        files = "; ".join(f"{one.file}: {one.message}" for one in broken[:CLOSEST])
        hint = f"{hint}\nthese Dag files do not load: {files}"
    raise UsageError(f"there is no Dag {dag!r}", hint=hint)


def suggest_run(error: NotFoundError, dag: str) -> str:
    """Return the hint for a run that is not there, of a Dag that is: without any run, how to make one."""
    return suggest(error.near) if error.near else f"airfleet run {shlex.quote(dag)}"


def suggest(near: Sequence[str]) -> str:
    return f"one of {', '.join(near)}" if near else "airfleet airflow dags list"
