"""What a Dag run left behind, on either side, and the comparison of both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from airfleet.operations.migration.text import make_printable

# Airflow's own XComs, such as links, begin with this.
OWN_KEY = "_"
SHOWN = 80


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The states of the task instances, and their XComs as JSON. `unread` names XComs that are no JSON."""

    tasks: Mapping[str, str]
    xcoms: Mapping[str, object]
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FormerRun:
    """A successful run of Airflow 2. `interval` is its data interval, if it has one."""

    dag_id: str
    run_id: str
    logical_date: datetime
    interval: tuple[datetime, datetime] | None
    conf: object
    outcome: RunOutcome


@dataclass(frozen=True, slots=True)
class RepeatedRun:
    """The same run on Airflow 3. `problem` says why it has no end, or is empty. `log` names the file of its output."""

    outcome: RunOutcome
    seconds: float
    log: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class OutcomeDifference:
    """One thing that is not the same: a task, an XCom or a table. A side that lacks it has None."""

    what: str
    old: str | None
    new: str | None


def name_instance(task_id: str, map_index: int) -> str:
    """Return the name of a task instance in a report."""
    return task_id if map_index < 0 else f"{task_id}[{map_index}]"


def collect(
    tasks: Mapping[tuple[str, int], str | None], xcoms: Mapping[tuple[str, int, str], bytes | None]
) -> RunOutcome:
    """Return an outcome. XComs of Airflow itself are left out; one without a value was too large to read."""
    values: dict[str, object] = {}
    unread = []
    for (task_id, map_index, key), value in sorted(xcoms.items()):
        if key.startswith(OWN_KEY):
            continue
        name = f"{name_instance(task_id, map_index)}.{key}"
        try:
            values[name] = _unwrap(json.loads(value or b""))
        # Of Airflow 2 it may be a pickle. No pickle is loaded here.
        except (ValueError, RecursionError):
            unread.append(name)
    states = {name_instance(*key): state or "none" for key, state in sorted(tasks.items())}
    return RunOutcome(states, values, tuple(unread))


def compare(old: RunOutcome, new: RunOutcome) -> Iterator[OutcomeDifference]:
    """Yield what differs: states of tasks first, then XComs. What cannot be read on a side is not compared."""
    for name in sorted({*old.tasks, *new.tasks}):
        if old.tasks.get(name) != new.tasks.get(name):
            yield OutcomeDifference(f"task {name}", old.tasks.get(name), new.tasks.get(name))
    unread = {*old.unread, *new.unread}
    for name in sorted({*old.xcoms, *new.xcoms} - unread):
        there, here = (_write(side.xcoms[name]) if name in side.xcoms else None for side in (old, new))
        if there != here:
            yield OutcomeDifference(f"XCom {name}", there, here)


def describe(one: OutcomeDifference) -> str:
    """Return a difference as a line for a terminal. Long values are cut from where they begin to differ."""
    old, new = one.old, one.new
    if old is not None and new is not None:
        same = next((place for place, pair in enumerate(zip(old, new, strict=False)) if len(set(pair)) > 1), 0)
        begin = max(0, same - SHOWN // 2) if max(len(old), len(new)) > SHOWN else 0
        old, new = _cut(old, begin), _cut(new, begin)
    sides = ("nothing" if side is None else _cut(side, 0) for side in (old, new))
    return make_printable(f"{one.what}: {next(sides)} there, {next(sides)} here")


def _unwrap(value: object) -> object:
    """Return a value as both versions mean it.

    Airflow 2 writes a tuple as a list, and Airflow 3 as a tuple. A set has no order, but is written in one.
    """
    if isinstance(value, list):
        return [_unwrap(one) for one in value]
    if not isinstance(value, dict):
        return value
    inner = {key: _unwrap(one) for key, one in value.items()}
    match inner:
        case {"__classname__": "builtins.tuple", "__data__": list(data)}:
            return data
        case {"__classname__": "builtins.set" | "builtins.frozenset", "__data__": list(data)}:
            return {**inner, "__data__": sorted(data, key=_write)}
    return inner


def _cut(text: str, begin: int) -> str:
    part = text[begin : begin + SHOWN]
    return f"{'…' if begin else ''}{part}{'…' if begin + SHOWN < len(text) else ''}"


def _write(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
