"""Explain why a Dag, a run or a task instance does not run, from the database and the workers of a platform."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from airfleet.components import settings
from airfleet.errors import AirfleetError, UsageError
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret
from airfleet.workspace.project import find_project, find_state, read_fleet
from airfleet_provider.contract.explanation import reading
from airfleet_provider.contract.explanation.explain import explain
from airfleet_provider.contract.explanation.facts import Facts, WorkerState
from airfleet_provider.contract.explanation.model import Explanation
from airfleet_provider.contract.explanation.reading import NotFoundError, Query

CONNECT_S = 10
STATEMENT_MS = 5000
CLOSEST = 3


@dataclass(frozen=True, slots=True)
class Place:
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


def find_place(project: Path, state: Path | None) -> Place:
    """Return the platform of a project.

    Raises:
        UsageError: There is no such project, or its fleet.yaml is wrong.
    """
    found = find_project(project)
    return Place(found, state, read_fleet(found))


@contextmanager
def open_query(place: Place) -> Iterator[Query]:
    """Yield a function that reads the metadata database. All that it reads is of one moment, and nothing changes.

    Raises:
        AirfleetError: No platform runs there, or its database does not answer.
    """
    with ExitStack() as stack:
        dsn = _find_database(stack, place)
        try:
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

            def query(sql: LiteralString, parameters: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
                return connection.execute(sql, parameters).fetchall()

            yield query
        except psycopg.Error as error:
            said = (str(error) or type(error).__name__).strip().splitlines()[0]
            raise AirfleetError(f"cannot read the metadata database: {said}", hint="airfleet status") from None


def _find_database(stack: ExitStack, place: Place) -> Secret:
    if place.fleet.hosts:
        from airfleet.runners.fleet.transport import tunnel  # noqa: PLC0415 - one machine needs nothing that speaks SSH

        return stack.enter_context(tunnel.open_database(place.fleet, place.project, place.state))
    folder = find_state(place.project, place.state)
    dsn = folder.read_dsn()
    if dsn is None or not folder.is_held():
        raise AirfleetError("no platform runs here", where=str(folder.root), hint="airfleet up")
    return dsn


def look(place: Place, dag: str, run: str | None, task: str | None) -> Explanation:
    """Explain a Dag, a run of it, or a task of a run. `run` and `task` are as the user writes them.

    Raises:
        UsageError: There is no such Dag, run or task.
        AirfleetError: The database cannot be read.
    """
    with open_query(place) as query:
        try:
            subject = reading.resolve(query, dag, run, task)
        except NotFoundError as error:
            _check_dag(query, dag)
            raise UsageError(error.what, hint=_suggest(error.near)) from None
        facts = reading.read(query, subject, executor=place.executor, parallelism=place.parallelism)
        if facts.dag is None:
            _check_dag(query, dag)
        if subject.task and not facts.tasks:
            names = sorted({one.task for one in facts.counts})
            near = difflib.get_close_matches(subject.task, names, CLOSEST) or names[:CLOSEST]
            raise UsageError(f"the run {subject.run} has no task {subject.task_name}", hint=_suggest(near))
    return explain(add_workers(place, facts))


def add_workers(place: Place, facts: Facts) -> Facts:
    """Return the facts with the state of the workers, if a task waits in a queue of Celery's."""
    if place.executor != "celery" or all(task.state != "queued" for task in facts.tasks):
        return facts
    from airfleet.operations.workers import access  # noqa: PLC0415 - only a task that is queued needs what speaks SSH

    try:
        with ExitStack() as stack:
            workers = access.find(stack, place.project, place.state).read()
    except AirfleetError as error:
        return replace(facts, unread=(*facts.unread, f"the workers could not be asked: {error.what}"))
    states = tuple(
        WorkerState(one.name, one.state, one.queues, one.slots, sum(task.running for task in one.tasks), one.why)
        for one in workers
    )
    return replace(facts, platform=replace(facts.platform, workers=states))


def _check_dag(query: Query, dag: str) -> None:
    """Raise an error that says what is near, if there is no such Dag."""
    known = reading.list_dags(query)
    if dag in known:
        return
    broken = reading.list_failures(query)
    near = difflib.get_close_matches(dag, known, CLOSEST)
    hint = _suggest(near) if near else "airfleet airflow dags list"
    if broken:
        files = "; ".join(f"{one.file}: {one.message}" for one in broken[:CLOSEST])
        hint = f"{hint}\nthese Dag files do not load: {files}"
    raise UsageError(f"there is no Dag {dag!r}", hint=hint)


def _suggest(near: Sequence[str]) -> str:
    return f"one of {', '.join(near)}" if near else "airfleet airflow dags list"
