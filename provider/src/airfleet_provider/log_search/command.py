"""`airflow airfleet logs`: what `airfleet logs search` and `airfleet errors` run where the index is."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace

import psycopg2

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract.moments import read_span
from airfleet_provider.contract.text import one_line
from airfleet_provider.log_index import signatures
from airfleet_provider.log_index.lines import LEVELS, TASK, show_moment
from airfleet_provider.log_index.signatures import ErrorGroup
from airfleet_provider.log_index.store import FoundLines, Hit, LogQuery, LogReader, LogStoreError
from airfleet_provider.log_search import attempts, readers
from airfleet_provider.log_search.attempts import AttemptKey, KnownAttempt
from airfleet_provider.processes import command_line

ERRORS = ("error", "critical")
# Lines of errors that are read to group them. With more, the older ones are left out.
MOST_ERRORS = 50_000
# Seconds between two looks of --follow, and how long before a look a line may have been written that it finds.
FOLLOW_S, LATE_S = 0.5, 120.0
SPAN_TOO = "30m, 2h or 7d for a time before now, or 2026-11-24T16:05 in UTC"
# Characters of one physical line that are printed.
LONGEST = 4000


def run_command(arguments: argparse.Namespace) -> None:
    """Search lines, or show the errors by signature.

    Raises:
        SystemExit: with a message, if there is no index, or a moment cannot be read.
    """
    reader = open_index()
    try:
        if arguments.action == "errors":
            _show_errors(arguments, reader)
        else:
            _search(arguments, reader)
    except LogStoreError as error:
        raise SystemExit(f"airfleet: {error}") from None
    except BrokenPipeError:
        # What reads the output, such as `head`, has enough. Python would try again to write at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def open_index() -> LogReader:
    """Return what reads the index of this platform.

    Raises:
        SystemExit: There is none.
    """
    if (reader := readers.open_reader()) is None:
        raise SystemExit(
            "airfleet: this platform has no index of logs yet\n\nhint: `airfleet up` writes one; a fleet has one if a "
            "host has the role logs, and `airfleet logs` shows the journals of any"
        )
    return reader


def read_since(text: str, now: float) -> int:
    """Return the moment that a user wrote, in microseconds since 1970: `2h` is two hours ago.

    Raises:
        SystemExit: with a message, if the text is no moment.
    """
    if (span := read_span(text)) is not None:
        return int((now - span) * 1_000_000)
    return int(command_line.read_moment(text, SPAN_TOO).timestamp() * 1_000_000)


def list_levels(least: str | None) -> tuple[str, ...]:
    """Return a level and all above it."""
    return LEVELS[LEVELS.index(least) :] if least else ()


def _make_question(arguments: argparse.Namespace) -> LogQuery:
    now = time.time()
    return LogQuery(
        text=arguments.text or "",
        dag=arguments.dag or "",
        task=arguments.task or "",
        run=arguments.run or "",
        host=arguments.host or "",
        component=arguments.component or "",
        levels=ERRORS if arguments.action == "errors" else list_levels(arguments.level),
        try_number=arguments.try_number,
        map_index=arguments.map_index,
        since=read_since(arguments.since, now) if arguments.since else None,
        until=read_since(arguments.until, now) if arguments.until else None,
    )


def _search(arguments: argparse.Namespace, reader: LogReader) -> None:
    question = _make_question(arguments)
    answer = reader.search(question, arguments.most)
    write = _write_json if arguments.json else _write_text
    known = {} if arguments.follow else _read_attempts(answer)
    for hit in answer.hits:
        write(hit, attempts.find_doubt(hit.at, hit.origin, known))
    if answer.is_cut and not arguments.follow:
        command_line.say(f"these are the newest {arguments.most}; older ones match too: -n shows more")
    elif not answer.hits and not arguments.follow:
        command_line.say("no line matches")
    if arguments.follow:
        for hit in follow(reader, question, answer, time.time, time.sleep):
            write(hit)


def follow(
    reader: LogReader,
    question: LogQuery,
    shown: FoundLines,
    wall: Callable[[], float],
    sleep: Callable[[float], None],
) -> Iterator[Hit]:
    """Yield lines as they are found, without end; none twice, and none of `shown`."""
    seen = {(hit.source, hit.offset): hit.at for hit in shown.hits}
    since = int(wall() * 1_000_000)
    begun = since
    while True:
        sleep(FOLLOW_S)
        late = int((wall() - LATE_S) * 1_000_000)
        least = max(late, begun, question.since or 0)
        for hit in reader.search(replace(question, since=least), MOST_ERRORS).hits:
            if (hit.source, hit.offset) not in seen:
                seen[hit.source, hit.offset] = hit.at
                yield hit
        seen = {key: at for key, at in seen.items() if at >= late}


def _read_attempts(answer: FoundLines) -> Mapping[AttemptKey, KnownAttempt]:
    """Return what the database has of the tries of lines. While it does not answer, no line is doubted."""
    if not any(hit.origin.dag for hit in answer.hits):
        return {}
    try:
        return attempts.read(metadata_db.connect("airfleet logs"), answer.hits)
    except psycopg2.Error as error:
        command_line.say(f"warning: the database does not answer, so no line is checked: {one_line(error)}")
        return {}


def _write_json(hit: Hit, doubt: str = "") -> None:
    # Only ASCII, as other characters may steer a terminal.
    print(json.dumps({**hit.to_json(), **({"doubt": doubt} if doubt else {})}), flush=True)


def _write_text(hit: Hit, doubt: str = "") -> None:
    first, *others = hit.text.split("\n")
    head = f"{show_moment(hit.at)} {hit.level.upper():<8} {hit.origin.host} {name_origin(hit)}"
    head += f" (doubtful: {doubt})" if doubt else ""
    print("\n".join([f"{head} | {one_line(first, LONGEST)}", *(f"    {one_line(one, LONGEST)}" for one in others)]))


def name_origin(hit: Hit) -> str:
    """Return who wrote a line: `dag.task[map index] run try 2`, or the component."""
    own = hit.origin
    if not own.dag:
        return one_line(own.component)
    mapped = f"[{own.map_index}]" if own.map_index >= 0 else ""
    return one_line(f"{own.dag}.{own.task}{mapped} {own.run} try {own.try_number}")


def _show_errors(arguments: argparse.Namespace, reader: LogReader) -> None:
    question = _make_question(arguments)
    answer = reader.search(question, MOST_ERRORS)
    groups = signatures.group(answer.hits)[: arguments.most]
    releases = _read_releases({(one.first.origin.dag, one.first.origin.run) for one in groups if one.tasks})
    if arguments.json:
        command_line.print_json([describe_group(one, releases) for one in groups])
    else:
        for one in groups:
            print(tell_group(one, releases))
    if answer.is_cut:
        command_line.say(f"only the newest {MOST_ERRORS} lines were counted: --since narrows it")
    elif not groups:
        command_line.say("no error")


Releases = Mapping[tuple[str, str], str]


def tell_group(one: ErrorGroup, releases: Releases) -> str:
    """Return what a person reads of a group of errors, in two lines."""
    release = releases.get((one.first.origin.dag, one.first.origin.run), "")
    since = f"since {_show_minute(one.first.at)}" + (f", release {one_line(release[:12])}" if release else "")
    if one.tasks:
        subject = f"{_count(len(one.tasks), 'task')} of {_count(len(one.dags), 'Dag')}"
        share = "fail with this line" if len(one.tasks) > 1 else "fails with this line"
        who = f"{subject} {share} in {_count(len(one.tries), 'try', 'tries')}"
        where = ", ".join(f"{dag}.{task}" for dag, task in sorted(one.tasks)[:3])
        others = len(one.tasks) - 3
        where += f" and {_count(others, 'other')}" if others > 0 else ""
    else:
        who = f"{one_line(', '.join(sorted(one.components - {TASK})))}: {_count(one.lines, 'line')}"
        where = ""
    last = f"last {_show_minute(one.last.at)} on {one.last.origin.host}"
    message = one_line(signatures.find_message(one.last.text), 400)
    return "\n".join([f"{who} {since}; {last}", f"    {message}", *([f"    {one_line(where, 400)}"] if where else [])])


def describe_group(one: ErrorGroup, releases: Releases) -> Mapping[str, object]:
    """Return a group of errors as an object that JSON knows."""
    return {
        "signature": one.signature,
        "example": signatures.find_message(one.last.text),
        "lines": one.lines,
        "tries": len(one.tries),
        "tasks": [{"dag_id": dag, "task_id": task} for dag, task in sorted(one.tasks)],
        "dags": one.dags,
        "hosts": sorted(one.hosts),
        "components": sorted(one.components),
        "first": show_moment(one.first.at),
        "last": show_moment(one.last.at),
        "first_run": one.first.origin.run,
        "release": releases.get((one.first.origin.dag, one.first.origin.run), ""),
    }


def _read_releases(runs: set[tuple[str, str]]) -> Releases:
    """Return the releases of runs. While the database does not answer, none is known."""
    if not runs:
        return {}
    dags, ids = zip(*sorted(runs), strict=True)
    statement = (
        "SELECT dag_id, run_id, bundle_version FROM dag_run "
        "WHERE (dag_id, run_id) IN (SELECT * FROM unnest(%s::text[], %s::text[])) AND bundle_version IS NOT NULL"
    )
    try:
        with closing(metadata_db.connect("airfleet errors")) as connection, connection.cursor() as cursor:
            cursor.execute(statement, (list(dags), list(ids)))
            return {(dag, run): release for dag, run, release in cursor.fetchall()}
    except psycopg2.Error as error:
        command_line.say(f"warning: the database does not answer, so no release is shown: {one_line(error)}")
        return {}


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def _show_minute(at: int) -> str:
    return show_moment(at)[: len("2026-11-29T07:54")].replace("T", " ")
