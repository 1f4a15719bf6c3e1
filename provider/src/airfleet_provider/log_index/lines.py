"""Lines of logs: what is kept of each, and how the lines of Airflow and of servers are read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

TASK = "task"
LEVELS = ("debug", "info", "warning", "error", "critical")
# The words of Airflow, Python, PostgreSQL, RabbitMQ and HAProxy for a level.
_WORDS: Mapping[str, str] = {
    **{level: level for level in LEVELS},
    **dict.fromkeys(("warn", "alert"), "warning"),
    **dict.fromkeys(("fatal", "panic", "crit", "emerg"), "critical"),
    **dict.fromkeys(("log", "notice", "hint", "detail", "statement", "context"), "info"),
    **dict.fromkeys(("exception", "err"), "error"),
    "trace": "debug",
}
_MOMENT = re.compile(r"\s*(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:[.,](\d{1,6})\d*)?\s?(Z|UTC|[+-]\d\d:?\d\d)?")
# A level stands near the beginning of a line: `[info     ]`, `INFO logger:`, `LOG:  `, `ERROR:`.
_LEVEL = re.compile(rf"\[({'|'.join(_WORDS)})\s*\]|\b({'|'.join(map(str.upper, _WORDS))})\b", re.ASCII)
_LEVEL_WITHIN = 80
# How a line of standard error begins that says of itself how bad it is.
_OWN_LEVEL = re.compile(r"\W*(?:\S+ ){0,3}?\[?(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)\b|(Traceback )")
# A program may write any moment. This is the last one that is shown: the end of the year 9999, in seconds.
_LAST_S = 253_402_300_799
_STDERR = "task.stderr"
_TRACEBACK = "Traceback (most recent call last)"


# What a supervisor of tasks prints of a task: its logger, or the names that the child binds to each of its lines.
_LOGGERS = ("[task]", "[task.stdout]", "[task.stderr]")
_BOUND = (" ti_id=", " try_number=", " task_id=")


@dataclass(frozen=True, slots=True)
class LineOrigin:
    """Where lines come from: the host, the component, and for a task its try. `component` is TASK for a task."""

    host: str
    component: str
    dag: str = ""
    task: str = ""
    run: str = ""
    map_index: int = -1
    try_number: int = 0

    @property
    def attempt(self) -> tuple[str, str, str, int, int]:
        """What tells a try from all others. The names are apart: joined, those of two tries may be the same text."""
        return self.dag, self.task, self.run, self.map_index, self.try_number


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `source` names its file for all time, and `offset` is the position in bytes after the line.

    So the two identify the line. `at` is in microseconds since 1970. `raw` is the whole line as its program wrote it.
    """

    source: str
    offset: int
    at: int
    level: str
    text: str
    raw: str
    origin: LineOrigin


@dataclass(frozen=True, slots=True)
class Read:
    """What a line says of itself. `level` is "" if it says no level. `text` can be encoded as UTF-8.

    `at` is None if the line says no time, or one before 1970 or after the year 9999.
    """

    at: int | None
    level: str
    text: str


def clean_text(text: str) -> str:
    """Return a text that can be encoded as UTF-8. JSON can say half a character, such as `\\ud800`; it becomes `?`."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def read_line(raw: str) -> Read:
    """Read a line of a log: one of Airflow's JSON objects, or a line of text."""
    if raw.startswith("{") and raw.endswith("}"):
        try:
            body = json.loads(raw)
            if isinstance(body, dict) and "event" in body:
                return _read_object(body)
        except (ValueError, RecursionError):
            pass
    return _read_text(raw)


def is_copy(text: str) -> bool:
    """Return whether a line of a scheduler or worker is a line of a task, which the task's own log has too."""
    return any(one in text for one in _LOGGERS) or all(one in text for one in _BOUND)


def _read_object(body: Mapping[str, Any]) -> Read:
    event = body["event"] if isinstance(body["event"], str) else json.dumps(body["event"])
    level = _WORDS.get(str(body.get("level", "")).lower(), "info")
    # Airflow gives the level "error" to all that a task writes to standard error.
    if body.get("logger") == _STDERR and level == "error":
        level = _judge_stderr(event)
    at = _parse_moment(str(body.get("timestamp", "")))
    return Read(at, level, clean_text("\n".join([event, *_tell_errors(body.get("error_detail"))])))


def _judge_stderr(text: str) -> str:
    found = _OWN_LEVEL.match(text[:_LEVEL_WITHIN])
    if not found:
        return "info"
    return _WORDS[found[1].lower()] if found[1] else "error"


def _tell_errors(details: object) -> list[str]:
    """Return the exceptions of a line, as Python prints them but with the exception before its frames."""
    lines: list[str] = []
    for one in details if isinstance(details, list) else ():
        if not isinstance(one, dict):
            continue
        lines.append(f"{one.get('exc_type')}: {one.get('exc_value')}")
        frames = one.get("frames")
        lines += [
            f"  {frame.get('filename')}:{frame.get('lineno')} in {frame.get('name')}"
            for frame in (frames if isinstance(frames, list) else ())
            if isinstance(frame, dict)
        ]
    return lines


def _read_text(raw: str) -> Read:
    found = _LEVEL.search(raw, 0, _LEVEL_WITHIN)
    level = _WORDS[(found[1] or found[2]).lower()] if found else "error" if raw.startswith(_TRACEBACK) else ""
    return Read(_parse_moment(raw), level, clean_text(raw))


def _parse_moment(text: str) -> int | None:
    """Return the moment at the beginning of a text. Without a time zone, it is in that of this machine."""
    found = _MOMENT.match(text)
    if not found:
        return None
    day, clock, fraction, zone = found.groups()
    offset = "" if zone is None else "+00:00" if zone in ("Z", "UTC") else zone
    try:
        # Near the years 1 and 9999 the moment may be outside of what Python can express.
        seconds = int(datetime.fromisoformat(f"{day}T{clock}{offset}").timestamp())
    except (ValueError, OverflowError):
        return None
    return seconds * 1_000_000 + int((fraction or "").ljust(6, "0")) if 0 <= seconds <= _LAST_S else None


def show_moment(at: int) -> str:
    """Return a moment in ISO 8601, in UTC and with milliseconds. One outside 1970 to 9999 is shown as the nearest."""
    whole, rest = divmod(min(max(at, 0), _LAST_S * 1_000_000), 1_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:03}Z"
