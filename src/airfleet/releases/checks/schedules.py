"""Checks of schedules: catch-up with too many runs, and schedules that cannot be meant."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Any

from croniter import CroniterBadDateError, croniter

from airfleet.releases.checks import serialised
from airfleet.releases.checks.findings import Caught, Check
from airfleet.releases.checks.inputs import CheckInputs
from airfleet.releases.checks.source import SourceFile, last_name
from airfleet_provider.contract.directives import is_clock

MINUTE_S = 60
MINUTES_A_DAY = 24 * 60


def find_floods(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each Dag that would start more than `catchup_runs` runs when it is first unpaused."""
    limit = facts.rules.catchup_runs
    for source, dag in facts.dags():
        own = dag.properties
        start = _moment(own.get("start_date"))
        if own.get("catchup") and start:
            end = min(facts.now, _moment(own.get("end_date")) or facts.now)
            if _runs(own, start, end, limit) > limit:
                what = f"{dag.id} catches up on more than {limit} runs since {start:%Y-%m-%d} when it is switched on"
                hint = "set catchup=False and use a backfill for the past, or begin with a later start_date"
                yield Caught(source.path, source.dag_line(dag.id, "catchup"), what, hint, dag.id)


def find_senseless(facts: CheckInputs) -> Iterator[Caught]:
    """Yield each schedule that never fires or fires every minute, and each start_date or end_date that is wrong."""
    for source, dag in facts.dags():
        own = dag.properties
        line = source.dag_line(dag.id, "schedule")
        for expression in _expressions(own):
            if next(_list_times(expression, facts.now), None) is None:
                hint = "no month has this day: check the third and the fourth field"
                yield Caught(source.path, line, f"the schedule {expression!r} of {dag.id} never comes", hint, dag.id)
            elif runs := _count_runs_each_minute(expression):
                often = "every minute" if runs == 1 else f"{runs} times a minute"
                what = f"{dag.id} runs {often}: {runs * MINUTES_A_DAY} runs a day"
                yield Caught(source.path, line, what, _TOO_OFTEN, dag.id)
        delta = _delta(own)
        if 0 < delta <= MINUTE_S:
            yield Caught(source.path, line, f"{dag.id} runs every {delta:g} s", _TOO_OFTEN, dag.id)
        end = _moment(own.get("end_date"))
        # With catch-up, runs in the past are intended.
        if end and end <= facts.now and not own.get("catchup"):
            what = f"{dag.id} never runs again: its end_date is {end:%Y-%m-%d}"
            hint = "remove the Dag, or its end_date"
            yield Caught(source.path, source.dag_line(dag.id, "end_date"), what, hint, dag.id)
    for source in facts.sources.values():
        yield from _moving_starts(source)


_TOO_OFTEN = "a sensor, an asset or a message that starts it costs less than a run every minute"


def _moving_starts(source: SourceFile) -> Iterator[Caught]:
    for key, value in source.options:
        calls = (node for node in ast.walk(value) if isinstance(node, ast.Call)) if key == "start_date" else ()
        moving = next((name for call in calls if is_clock(call, name := last_name(call.func))), None)
        if moving:
            what = f"the start_date moves with {moving}(): it is another one each time the file is loaded"
            yield Caught(source.path, value.lineno, what, "write a fixed date: datetime(2026, 1, 1)")


def _runs(own: Mapping[str, Any], start: datetime, end: datetime, limit: int) -> int:
    """How many runs there are from start to end; each cron line is counted to one more than the limit."""
    counted = 0
    for expression in _expressions(own):
        # A run at the start itself counts.
        times = takewhile(lambda time: time < end, _list_times(expression, start - timedelta(seconds=1)))
        counted += sum(1 for _ in islice(times, limit + 1))
    delta = _delta(own)
    return counted + (int((end - start).total_seconds() / delta) if delta > 0 else 0)


def _list_times(expression: str, after: datetime) -> Iterator[datetime]:
    """When a cron line fires after a moment, without an end; nothing once 50 years go by without a run."""
    times = croniter(expression, after)
    while True:
        try:
            yield times.get_next(datetime)
        except CroniterBadDateError:
            return


def _count_runs_each_minute(expression: str) -> int:
    """How often a cron line fires in each minute of a day; 0 when there are minutes without a run."""
    (minutes, hours, _days, _months, _weekdays, *others), _ = croniter.expand(expression)
    if [minutes, hours] != [["*"], ["*"]]:
        return 0
    seconds = others[0] if others else [0]
    return 60 if seconds == ["*"] else len(seconds)


def _timetable(own: Mapping[str, Any]) -> Mapping[str, Any]:
    found = serialised.plain(own.get("timetable", {}))
    return found if isinstance(found, dict) else {}


def _expressions(own: Mapping[str, Any]) -> list[str]:
    """The cron lines of a Dag that croniter reads. Airflow reads them with it too, and loads no Dag with another."""
    timetable = _timetable(own)
    lines = (timetable.get("expression"), *timetable.get("expressions", ()))
    return [line for line in lines if isinstance(line, str) and croniter.is_valid(line)]


def _delta(own: Mapping[str, Any]) -> float:
    delta = _timetable(own).get("delta")
    return float(delta) if isinstance(delta, int | float) else 0.0


def _moment(seconds: object) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int | float) else None


CHECKS = (
    Check(
        "catchup",
        "No Dag starts more than `catchup_runs` runs when it is first unpaused.",
        '@dag(schedule="@hourly", start_date=datetime(2020, 1, 1), catchup=True)',
        find_floods,
    ),
    Check(
        "schedule",
        "A schedule fires, but not every minute. Its start_date is fixed, its end_date is in the future.",
        '@dag(schedule="0 0 30 2 *")',
        find_senseless,
    ),
)
