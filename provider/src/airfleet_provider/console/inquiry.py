"""The routes that look back: where the time of a run went, what happened on the platform, and log lines."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response

from airfleet_provider.compat.calls import logins
from airfleet_provider.console import inquiry_views
from airfleet_provider.console.desk import (
    ACTIVITY,
    ANY_DAG,
    LONGEST_ID,
    Given,
    Own,
    User,
    answer,
    expect,
    require,
    require_json,
)
from airfleet_provider.console.log_desk import LogDeskBusyError
from airfleet_provider.contract.archive_list import RunSearch
from airfleet_provider.contract.run_trace import reading, spans
from airfleet_provider.log_index.lines import LEVELS
from airfleet_provider.log_index.store import LogQuery, LogStoreError

router = APIRouter(dependencies=[Depends(require_json)])
WHOLE = "DAGs (read), for every Dag, since a time line names any of them"
LOGS = "Task Logs (read) of the Dag {dag}"
ALL_LOGS = f"DAGs and Task Logs (read), for every Dag, and {ACTIVITY}; or name one Dag"
ARCHIVED = "DAGs (read) for the Dag {dag}"
MOST_LINES = 200
EARLIEST_YEAR = 2000
# Airflow's own ids have 250 characters at most.
Id = Annotated[str, Query(max_length=LONGEST_ID + 100)]

Hours = Annotated[int, Query(ge=1, le=168)]


@router.get("/trace")
def show_trace(request: Request, desk: Own, user: User, dag: Id, run: Id) -> Response:
    """Return the tries of a run with their parts, and what decided when it ended."""
    require(logins.may_read_dag(user, dag), f"Task Instances (read) of the Dag {dag}")
    with desk.snapshot() as query:
        found = reading.read(query, dag, run)
    if found is None:
        raise HTTPException(404, "there is no such run")
    return answer(request, inquiry_views.show_trace(spans.build(found)))


@router.get("/incident")
def show_incident(
    request: Request, desk: Own, rights: Given, hours: Hours = 2, until: datetime | None = None
) -> Response:
    """Return what happened in the last hours, or in those before a moment. It may name any Dag.

    What people changed is only for those who may read the audit log.
    """
    require(rights.reads_all, WHOLE)
    require(rights.sees_platform, ACTIVITY)
    if until is None:
        line = desk.readings.read_incident(timedelta(hours=hours))
    else:
        end = until if until.tzinfo else until.replace(tzinfo=UTC)
        if end.year < EARLIEST_YEAR:
            raise HTTPException(422, f"a time line begins in {EARLIEST_YEAR} at the earliest")
        line = desk.readings.read_past(end - timedelta(hours=hours), end)
    return answer(request, inquiry_views.show_incident(rights, line))


@router.get("/backups")
def show_backups(request: Request, desk: Own, rights: Given) -> Response:
    """Return how old the last backup and the last archive of runs are. It names no Dag."""
    require(rights.sees_platform, ACTIVITY)
    return answer(request, inquiry_views.show_backups(desk.readings.read_backups()))


@router.get("/archive")
def show_archive(request: Request, desk: Own, rights: Given) -> Response:
    """Return the Dags with archived runs that the user may read."""
    require(bool(rights.dags) or rights.sees_platform, ANY_DAG)
    return answer(request, inquiry_views.show_archive(rights, expect(desk.readings.read_archive(), "archive of runs")))


@router.get("/archive/runs")
def find_archived_runs(
    request: Request,
    desk: Own,
    rights: Given,
    dag: Id,
    since: datetime | None = None,
    until: datetime | None = None,
    text: Annotated[str, Query(max_length=250)] = "",
) -> Response:
    """Return the archived runs of a Dag in a span of time, with the command that restores them."""
    require(bool(dag) and rights.may_see(dag), ARCHIVED.format(dag=dag))
    search = RunSearch(dag, _know_zone(since), _know_zone(until), text)
    return answer(
        request, inquiry_views.show_archived_runs(search, expect(desk.readings.find_runs(search), "archive of runs"))
    )


def _know_zone(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


@router.get("/logs")
def search_logs(
    request: Request,
    desk: Own,
    rights: Given,
    user: User,
    text: Annotated[str, Query(max_length=500)] = "",
    dag: Id = "",
    level: Literal["", "debug", "info", "warning", "error", "critical"] = "",
    hours: Hours = 1,
) -> Response:
    """Return the newest log lines that have all words of a text. Without a Dag, lines of components are among them.

    Those may name any Dag, so only those get them who may read the logs of every Dag and see the platform.
    """
    if dag:
        require(logins.may_read_logs(user, dag), LOGS.format(dag=dag))
    else:
        require(rights.reads_all and rights.sees_platform and logins.may_read_logs(user, None), ALL_LOGS)
    levels = LEVELS[LEVELS.index(level) :] if level else ()
    since = int((time.time() - 3600 * hours) * 1_000_000)
    try:
        found = desk.logs.search(LogQuery(text=text, dag=dag, levels=levels, since=since), MOST_LINES)
    except (LogStoreError, LogDeskBusyError) as error:
        raise HTTPException(503, str(error)) from error
    return answer(request, inquiry_views.show_lines(expect(found, "index of logs"), dag))
