"""What log agents, log stores and those who search them send each other: JSON, and lines compressed with zlib."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from airfleet_provider.log_index.lines import LEVELS, Line, LineOrigin, read_line
from airfleet_provider.log_index.store import FoundLines, Hit, LogQuery

# The paths of a log store. Agents send lines to the first; the others take what the name says as JSON.
LINES, SEARCH, SOURCES, PAGE = "/lines", "/search", "/sources", "/page"
# Bytes of lines after they are unpacked. An agent sends at most its turn, in which each byte may become six.
MOST_BYTES = 32 << 20
# The least compression: it takes a third of the time of the default.
LEVEL = 1
# Numbers beyond this do not fit into the index.
_LARGEST = 1 << 62
# The latest time of a line, in the year 2112. OpenSearch gets 1024 times that number, and has room for no more. One
# line that it cannot keep would stop those of all hosts.
_LATEST = (1 << 52) - 1
_NAMES = ("component", "dag", "task", "run")
_NUMBERS = ("map_index", "try_number")


class WireError(ValueError):
    """Another side sent something that is not what this module writes."""


def pack_lines(lines: Iterable[Line]) -> bytes:
    """Return lines as the body of a request. The text of a line is not in it, as it comes from the raw line."""
    groups = [
        {
            "source": source,
            **{name: getattr(origin, name) for name in (*_NAMES, *_NUMBERS)},
            "lines": [(line.offset, line.at, line.level, line.raw) for line in own],
        }
        for (source, origin), own in groupby(lines, key=lambda line: (line.source, line.origin))
    ]
    return zlib.compress(json.dumps(groups, separators=(",", ":")).encode(), LEVEL)


def unpack_lines(body: bytes, host: str) -> list[Line]:
    """Return the lines that an agent sent which proved to be that of `host`. All lines are of this host.

    Raises:
        WireError: They are not what `pack_lines` writes, or name a file of another host.
    """
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(body, MOST_BYTES)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise WireError("the lines are too many, or not whole")
        return [line for group in json.loads(text) for line in _read_group(group, host)]
    except (zlib.error, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WireError(f"no lines of an agent: {type(error).__name__}: {error}") from None


def _read_group(group: Mapping[str, Any], host: str) -> Iterable[Line]:
    source = _take(group["source"], str)
    if not source.startswith(f"{host}:"):
        raise WireError(f"{host} sends lines of a file of another host")
    component, dag, task, run = (_take(group[name], str) for name in _NAMES)
    map_index, try_number = (_take_number(group[name]) for name in _NUMBERS)
    origin = LineOrigin(host, component, dag, task, run, map_index, try_number)
    for offset, at, level, raw in group["lines"]:
        if level not in LEVELS:
            raise WireError("a level that is none")
        whole = _take(raw, str)
        moment = min(_take_number(at), _LATEST)
        yield Line(source, _take_number(offset), moment, level, read_line(whole).text, whole, origin)


def _take(value: object, kind: type[str]) -> str:
    if not isinstance(value, kind):
        raise WireError(f"a {type(value).__name__} where a text must be")
    return value


def _take_number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value < _LARGEST:
        raise WireError("no number, or one that the index cannot keep")
    return value


def show_question(question: LogQuery, most: int) -> Mapping[str, object]:
    """Return a question as an object that JSON knows."""
    return {"question": asdict(question), "most": most}


def read_question(body: Mapping[str, Any]) -> tuple[LogQuery, int]:
    """Return what `show_question` was given. Raises TypeError or KeyError if the body is something else."""
    asked = dict(body["question"])
    return LogQuery(**{**asked, "levels": tuple(asked["levels"])}), int(body["most"])


def show_answer(answer: FoundLines) -> Mapping[str, object]:
    """Return an answer as an object that JSON knows."""
    hits = [(one.source, one.offset, one.at, one.level, one.text, asdict(one.origin)) for one in answer.hits]
    return {"hits": hits, "is_cut": answer.is_cut}


def read_answer(body: Mapping[str, Any]) -> FoundLines:
    """Return what `show_answer` was given. Raises TypeError or KeyError if the body is something else."""
    hits = [
        Hit(source, offset, at, level, text, LineOrigin(**own)) for source, offset, at, level, text, own in body["hits"]
    ]
    return FoundLines(hits, bool(body["is_cut"]))


def show_attempt(attempt: LineOrigin, source: str = "", after: int = 0) -> Mapping[str, object]:
    """Return the question for the files of a try, or for a page of one file, as an object that JSON knows."""
    return {"attempt": asdict(attempt), "source": source, "after": after}


def read_attempt(body: Mapping[str, Any]) -> tuple[LineOrigin, str, int]:
    """Return what `show_attempt` was given. Raises TypeError or KeyError if the body is something else."""
    return LineOrigin(**body["attempt"]), str(body["source"]), int(body["after"])


def read_page(body: Sequence[Any]) -> Sequence[tuple[int, str]]:
    """Return the lines of a page, each with its offset."""
    return [(int(offset), str(raw)) for offset, raw in body]
