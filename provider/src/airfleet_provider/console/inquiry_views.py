"""The pages that look back, as JSON. Pure functions. Spans of time are in seconds, and moments in ISO 8601."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from airfleet_provider.console.readings import BackupBoard
from airfleet_provider.console.rights import Rights
from airfleet_provider.contract.archive_list import ArchivedDag, ArchivedRuns, RunSearch
from airfleet_provider.contract.incident.events import TimeLine
from airfleet_provider.contract.run_trace import spans
from airfleet_provider.contract.run_trace.spans import Trace, Try, TrySpan
from airfleet_provider.log_index.lines import show_moment
from airfleet_provider.log_index.store import FoundLines

Json = dict[str, Any]

# Of a run with more tries, those of the critical path and the longest are shown.
MOST_TRIES = 200
# Of a time line with more events, the newest are shown.
MOST_EVENTS, LONGEST_TEXT = 500, 500
LONGEST_LINE = 4000
# The events that say what people did, in the words of Airflow's audit log.
CHANGE = "change"


def show_trace(trace: Trace) -> Json:
    """Return a run as rows of a waterfall. Each part has its begin and its length, counted from the run's begin."""
    run = trace.run
    parts: defaultdict[Try, list[TrySpan]] = defaultdict(list)
    for one in trace.spans:
        parts[one.owner].append(one)
    shown = spans.choose(trace, MOST_TRIES)
    critical = set(trace.critical)
    return {
        "dag": run.dag,
        "run": run.run,
        "state": run.state,
        "release": run.release[:12],
        "begin": run.begun.isoformat(),
        "has_ended": run.ended is not None,
        "seconds": round((run.end - run.begun).total_seconds(), 3),
        "tries": [
            {
                "name": one.name,
                "task": one.task,
                "state": one.state,
                "host": one.host,
                "is_critical": one in critical,
                "parts": [
                    {
                        "part": part.part.value,
                        "begin_s": round((part.begin - run.begun).total_seconds(), 3),
                        "seconds": round(part.seconds, 3),
                    }
                    for part in parts[one]
                ],
            }
            for one in shown
        ],
        "hidden": len(parts) - len(shown),
        "critical_path": [one.name for one in trace.critical],
        "running_s": round(trace.running_s, 3),
        "waiting_s": round(trace.waiting_s, 3),
        "longest_wait": spans.tell_wait(trace),
    }


def show_incident(rights: Rights, line: TimeLine) -> Json:
    """Return what happened, the newest first. What people changed is left out unless the user may audit."""
    events = [one for one in line.events if rights.audits or one.kind != CHANGE]
    shown = events[-MOST_EVENTS:][::-1]
    return {
        "since": line.since.isoformat(),
        "until": line.until.isoformat(),
        "events": [
            {
                "at": one.at.isoformat(),
                "kind": one.kind,
                "subject": one.subject[:LONGEST_TEXT],
                "what": one.what[:LONGEST_TEXT],
                "actor": one.actor,
                "is_bad": one.is_bad,
                "count": one.count,
            }
            for one in shown
        ],
        "is_cut": line.is_cut or len(shown) < len(events),
        "hides_changes": not rights.audits,
    }


def show_backups(board: BackupBoard) -> Json:
    """Return when the last backup and archive ended, and what the database holds."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(board).items()}


def show_archive(rights: Rights, dags: Iterable[ArchivedDag]) -> Json:
    """Return the Dags with archived runs that the user may read."""
    seen = [one for one in dags if rights.may_see(one.dag_id)]
    return {
        "dags": [
            {**asdict(one), "first_after": one.first_after.isoformat(), "last_after": one.last_after.isoformat()}
            for one in seen
        ],
        "runs": sum(one.runs for one in seen),
        "bytes": sum(one.bytes for one in seen),
    }


def show_archived_runs(search: RunSearch, found: ArchivedRuns) -> Json:
    """Return archived runs, each with the command that restores it, and the command that restores all of them."""
    runs = found.runs
    return {
        "dag": search.dag,
        "months": [asdict(one) for one in found.months],
        "runs": [
            {
                **asdict(one),
                "run_after": one.run_after.isoformat(),
                "command": write_restore(search.dag, one.run_after, one.run_after),
            }
            for one in runs
        ],
        "command": write_restore(search.dag, runs[-1].run_after, runs[0].run_after) if runs else "",
        "is_cut": found.is_cut,
    }


def write_restore(dag: str, first: datetime, last: datetime) -> str:
    """Return the command that restores the runs of a Dag from the first to the last, and no other moment's."""
    since = first.astimezone(UTC).replace(microsecond=0)
    until = last.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
    begin, end = (f"{one:%Y-%m-%dT%H:%M:%SZ}" for one in (since, until))
    return shlex.join(["airfleet", "db", "archive", "restore", "--dag", dag, "--from", begin, "--to", end])


def show_lines(found: FoundLines, dag: str) -> Json:
    """Return log lines, the newest first. With a Dag, lines that are not of its tasks are left out."""
    return {
        "lines": [
            {
                "at": show_moment(one.at),
                "level": one.level,
                "host": one.origin.host,
                "component": one.origin.component,
                "dag": one.origin.dag,
                "run": one.origin.run,
                "task": one.origin.task,
                "map_index": one.origin.map_index,
                "try_number": one.origin.try_number,
                "text": one.text[:LONGEST_LINE],
            }
            for one in reversed(found.hits)
            if not dag or one.origin.dag == dag
        ],
        "is_cut": found.is_cut,
    }
