"""Which runs are in the archive, as rows of the metadata database: a copy of the manifests, which are the truth."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from airfleet_provider.contract.explanation.reading import Query
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "archive_list")

# So many runs of a Dag are read for a search, the newest first, and so many are returned.
MOST_READ, MOST_FOUND = 50_000, 200


@dataclass(frozen=True, slots=True)
class ArchivedDag:
    """The archived runs of a Dag. One that was restored and archived again counts twice."""

    dag_id: str
    months: int
    runs: int
    task_instances: int
    bytes: int
    first_after: datetime
    last_after: datetime


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """The archived runs of a Dag and a month."""

    month: str
    runs: int
    task_instances: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FoundRun:
    """An archived run. `state` is that of the run in the database, if it is there too."""

    run_id: str
    run_after: datetime
    tasks: int
    state: str | None


@dataclass(frozen=True, slots=True)
class RunSearch:
    """What somebody looks for: runs of a Dag whose `run_after` is in a span, with a text in their id."""

    dag: str
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class ArchivedRuns:
    """The months of a Dag, and the runs that fit a search, the newest first. `is_cut` if more may fit."""

    months: tuple[ArchivedMonth, ...]
    runs: tuple[FoundRun, ...]
    is_cut: bool


def list_dags(query: Query) -> tuple[ArchivedDag, ...]:
    """Return the Dags with archived runs, in the order of their ids."""
    return tuple(ArchivedDag(**row) for row in query(SQL["list_dags"], {}))


def find_runs(query: Query, search: RunSearch) -> ArchivedRuns:
    """Return the archived runs that fit a search."""
    words = {"dag": search.dag, "since": search.since, "until": search.until, "text": search.text}
    rows = query(SQL["find_runs"], {**words, "most_read": MOST_READ, "most": MOST_FOUND + 1})
    runs = tuple(FoundRun(row["run_id"], row["run_after"], row["tasks"], row["state"]) for row in rows[:MOST_FOUND])
    months = tuple(ArchivedMonth(**row) for row in query(SQL["list_months"], {"dag": search.dag}))
    (near,) = query(SQL["count_near"], {name: words[name] for name in ("dag", "since", "until")})
    return ArchivedRuns(months, runs, len(rows) > MOST_FOUND or near["runs"] > MOST_READ)
