"""What each Dag of Airflow 2 promises and whom it notifies, and the work that it needs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from airfleet.operations.migration.findings import MINUTES_PER_DAG, Handling, MigrationFinding, estimate
from airfleet.releases.checks.source import DagPlace, SourceFile, last_name, text_of

_UNITS = {"days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1, "weeks": 604_800}
_POSITIONS = ("days", "seconds")
_PRESETS = {"@daily": "0 0 * * *", "@midnight": "0 0 * * *"}
_DAILY = re.compile(r"(\d{1,2}) (\d{1,2}) \* \* (\*|[0-7](?:-[0-7])?)")
_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]]+@[A-Za-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class Sla:
    """An `sla` of Airflow 2: the task succeeds within `seconds` of the run's schedule. An empty task is every task."""

    task: str
    seconds: int
    line: int


@dataclass(frozen=True, slots=True)
class DagAssessment:
    """One Dag: its findings, minutes of work, promises, and who is notified when it fails.

    `daily_at` has the minutes after midnight, the days (as cron writes them) and the zone if it runs once on each day.
    """

    dag_id: str
    path: str
    line: int
    minutes: int
    findings: tuple[MigrationFinding, ...] = ()
    slas: tuple[Sla, ...] = ()
    notifies: bool = False
    mails: tuple[str, ...] = ()
    daily_at: tuple[int, str, str] | None = None

    @property
    def is_broken(self) -> bool:
        """Whether a person must change it before it runs."""
        return any(one.verdict is Handling.BROKEN for one in self.findings)


def assess(sources: Mapping[str, SourceFile], findings: tuple[MigrationFinding, ...]) -> tuple[DagAssessment, ...]:
    """Return all Dags, those with the most work first. Findings outside of a file's Dags are shared by all of them."""
    found = [dag for source in sources.values() for dag in _assess_file(source, findings)]
    return tuple(sorted(found, key=lambda dag: (-dag.minutes, dag.dag_id)))


def _assess_file(source: SourceFile, findings: tuple[MigrationFinding, ...]) -> Iterator[DagAssessment]:
    places = source.places
    own = tuple(one for one in findings if one.path == source.path)
    inside = {place: tuple(one for one in own if _holds(place, one.line)) for place in places}
    apart = tuple(one for one in own if not any(_holds(place, one.line) for place in places))
    for place in places:
        mine = tuple(sorted((*inside[place], *apart), key=lambda one: one.order))
        minutes = MINUTES_PER_DAG + estimate(inside[place]) + round(estimate(apart) / len(places))
        yield DagAssessment(
            dag_id=place.dag_id or f"{source.path}:{place.line}",
            path=source.path,
            line=place.line,
            minutes=minutes,
            findings=mine,
            slas=tuple(_find_slas(source, place, places)),
            notifies=_notifies(source, place, places),
            mails=_find_mails(source, place, places),
            daily_at=_find_daily(source, place),
        )


def _holds(place: DagPlace, line: int) -> bool:
    return place.line <= line <= max(place.last_line, _end_of(place))


def _end_of(place: DagPlace) -> int:
    return (place.call.end_lineno or place.line) if place.call else place.line


def _options(source: SourceFile, place: DagPlace, places: tuple[DagPlace, ...]) -> Iterator[tuple[str, ast.expr, str]]:
    """Yield each option in a Dag with its task; "" where it is an option of the Dag or of its default arguments."""
    for node in source.nodes:
        line = getattr(node, "lineno", 0)
        is_apart = not any(_holds(other, line) for other in places)
        if not (_holds(place, line) or is_apart):
            continue
        if isinstance(node, ast.Call):
            named = {one.arg: one.value for one in node.keywords if one.arg}
            task = text_of(named.get("task_id")) or _decorated(source, node)
            yield from ((key, value, task) for key, value in named.items())
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield from ((name, value, "") for key, value in pairs if (name := text_of(key)))


def _decorated(source: SourceFile, call: ast.Call) -> str:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef) and call in node.decorator_list and last_name(call.func) != "dag":
            return node.name
    return ""


def _find_slas(source: SourceFile, place: DagPlace, places: tuple[DagPlace, ...]) -> Iterator[Sla]:
    for key, value, task in _options(source, place, places):
        if key == "sla" and (seconds := _seconds(value)):
            yield Sla(task, seconds, value.lineno)


def _seconds(node: ast.expr) -> int:
    """Return the seconds of `timedelta(…)` or `duration(…)` with literal numbers, or 0."""
    if not isinstance(node, ast.Call) or last_name(node.func) not in ("timedelta", "duration"):
        return 0
    given = dict(zip(_POSITIONS, node.args, strict=False)) | {one.arg: one.value for one in node.keywords if one.arg}
    total = 0.0
    for unit, value in given.items():
        if unit not in _UNITS or not isinstance(value, ast.Constant) or not isinstance(value.value, int | float):
            return 0
        total += value.value * _UNITS[unit]
    return round(total)


def _notifies(source: SourceFile, place: DagPlace, places: tuple[DagPlace, ...]) -> bool:
    for key, value, _ in _options(source, place, places):
        is_set = not (isinstance(value, ast.Constant) and value.value in (None, False))
        if key in ("on_failure_callback", "email_on_failure") and is_set:
            return True
    return False


def _find_mails(source: SourceFile, place: DagPlace, places: tuple[DagPlace, ...]) -> tuple[str, ...]:
    found = []
    for key, value, _ in _options(source, place, places):
        if key == "email":
            for node in ast.walk(value):
                found += [one.strip() for one in re.split("[,;]", text_of(node) if isinstance(node, ast.expr) else "")]
    return tuple(sorted({one for one in found if _ADDRESS.fullmatch(one)}))


def _find_daily(source: SourceFile, place: DagPlace) -> tuple[int, str, str] | None:
    if place.call is None:
        return None
    keys = ("schedule", "schedule_interval")
    written = next((text_of(one.value) for one in place.call.keywords if one.arg in keys), "")
    match = _DAILY.fullmatch(_PRESETS.get(written, written))
    if match is None or int(match[1]) > 59 or int(match[2]) > 23:
        return None
    return int(match[2]) * 60 + int(match[1]), match[3], _find_zone(source)


def _find_zone(source: SourceFile) -> str:
    """Return the only time zone that the file names, or UTC."""
    zones = {text_of(value) for key, value in source.options if key in ("tz", "timezone")}
    zones |= {text_of(call.args[0]) for call in source.calls if last_name(call.func) == "timezone" and call.args}
    zones.discard("")
    return zones.pop() if len(zones) == 1 else "UTC"
