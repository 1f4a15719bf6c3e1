"""The first error in the log of a task instance, as one line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Protocol

from airfleet_provider.contract.text import one_line

OWN = ("dags", "include", "plugins")


class LoggedTask(Protocol):
    """A task instance, of whose last try the log is wanted."""

    @property
    def task(self) -> str: ...
    @property
    def map_index(self) -> int: ...
    @property
    def try_number(self) -> int: ...


def locate(dag: str, run: str, task: LoggedTask) -> PurePosixPath:
    """Return the path of the log of the last try, by the default of Airflow's `log_filename_template`."""
    parts = [f"dag_id={dag}", f"run_id={run}", f"task_id={task.task}"]
    parts += [f"map_index={task.map_index}"] if task.map_index >= 0 else []
    return PurePosixPath(*parts, f"attempt={task.try_number}.log")


def find_error(lines: Iterable[str]) -> str | None:
    """Return the exception of the first line that has one, with the file and line of the project that raised it.

    A line without an exception counts only if no line has one: what a task prints on stderr has the level `error` too.
    """
    other = None
    for line in lines:
        try:
            body = json.loads(line)
        except ValueError:
            continue
        if not isinstance(body, dict):
            continue
        detail = body.get("error_detail")
        if isinstance(detail, list) and detail and isinstance(detail[-1], dict):
            return one_line(_describe(detail[0]))
        if body.get("level") in ("error", "critical"):
            other = other or str(body.get("event", ""))
    return one_line(other) if other else None


def _describe(error: Mapping[str, Any]) -> str:
    frames = [frame for frame in error.get("frames") or () if isinstance(frame, Mapping)]
    places = [_find_place(str(frame.get("filename", "")), frame.get("lineno")) for frame in frames]
    where = next((place for place in reversed(places) if place), "")
    said = str(error.get("exc_value", "")).strip()
    return f"{error.get('exc_type', 'Error')}{f': {said}' if said else ''}{f' ({where})' if where else ''}"


def _find_place(file: str, line: object) -> str:
    parts = PurePosixPath(file).parts
    if "site-packages" in parts:
        return ""
    own = next((place for place, part in enumerate(parts) if part in OWN), None)
    return f"{'/'.join(parts[own:])}:{line}" if own is not None else ""
