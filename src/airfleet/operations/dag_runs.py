"""Trigger a run of a Dag through Airflow's command line, and follow it in the database until it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations import explanation, task_logs
from airfleet.operations.explanation import ReadablePlatform
from airfleet_provider.contract.explanation import task_log
from airfleet_provider.contract.explanation.model import name_task
from airfleet_provider.contract.explanation.reading import Query
from airfleet_provider.contract.statements import Statements
from airfleet_provider.contract.text import one_line

SQL = Statements(__package__, "dag_runs")
FINISHED = ("success", "failed")
# A platform's command line takes its words in one message, and a program one word of at most 128 KiB.
LONGEST_CONF = 100_000
# Seconds between two looks at a run. A look that takes long has a longer pause, and so costs 1/20 of a core at most.
LOOK_EVERY_S, PAUSES = 0.5, 20
# Seconds for which the database may be away: a fail-over or a restart of the platform is over by then.
PATIENCE_S, RETRY_S = 300.0, 2.0
MOST_TASKS = 20_000
LOG_LINES, LOG_BYTES = 20, 64 << 10


@dataclass(frozen=True, slots=True)
class AirflowResult:
    """How a command of Airflow ended: its exit code, and what it wrote on both streams."""

    code: int
    output: str


# Runs Airflow's command line with these arguments where the platform runs.
RunAirflow = Callable[[Sequence[str]], AirflowResult]


@dataclass(frozen=True, slots=True)
class FollowedTask:
    """A task instance of a run, with its last try. `state` is Airflow's, or "" before it is scheduled."""

    task: str
    map_index: int
    try_number: int
    state: str
    started: datetime | None
    ended: datetime | None

    @property
    def name(self) -> str:
        return name_task(self.task, self.map_index)

    @property
    def seconds(self) -> float | None:
        """Return how long the last try ran, or None while it has not ended."""
        return (self.ended - self.started).total_seconds() if self.started and self.ended else None


@dataclass(frozen=True, slots=True)
class FollowedRun:
    """A run and its task instances at one moment; those that ended come first, in the order of their ends."""

    state: str
    queued: datetime | None
    started: datetime | None
    ended: datetime | None
    tasks: tuple[FollowedTask, ...]

    @property
    def seconds(self) -> float | None:
        """Return the time from the trigger to the end, or None while the run has not ended."""
        begun = self.queued or self.started
        return (self.ended - begun).total_seconds() if begun and self.ended else None


def parse_conf(text: str) -> str:
    """Return the `conf` of a run as compact JSON.

    Raises:
        UsageError: The text is not an object in JSON, or it is too long.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not a value of JSON")

    try:
        value: Any = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--conf is not JSON: {one_line(error)}", hint="""--conf '{"day": "2026-11-29"}'""") from None
    if not isinstance(value, dict):
        raise UsageError("--conf is not an object", hint="""--conf '{"day": "2026-11-29"}'""")
    conf = json.dumps(value, separators=(",", ":"))
    if len(conf) > LONGEST_CONF:
        raise UsageError(f"--conf has {len(conf)} characters; {LONGEST_CONF} are allowed", hint="put a path in it")
    return conf


def make_run_id(now: datetime, token: str) -> str:
    """Return an id in Airflow's form for a manual run; the token keeps two runs of one second apart."""
    return f"manual__{now.isoformat(timespec='seconds')}_{token}"


def trigger(place: ReadablePlatform, dag: str, run: str, conf: str | None, run_airflow: RunAirflow) -> bool:
    """Trigger the run, unless it exists already. Return whether this call made it.

    The id is chosen before, so whoever is not sure whether the run was made calls this again.

    Raises:
        UsageError: There is no such Dag, or it is paused.
        AirfleetError: No platform runs, or Airflow refused the run.
    """
    with explanation.open_database(place) as database, database.take() as query:
        if read(query, dag, run):
            return False
        explanation.check_dag(query, dag)
        if any(row["is_paused"] for row in query(SQL["dag"], {"dag": dag})):
            hint = f"airfleet airflow dags unpause {dag}"
            raise UsageError(f"the Dag {dag} is paused, so a run would only wait", hint=hint)
    result = run_airflow(list_words(dag, run, conf))
    if result.code == 0:
        return True
    again = f"the same command with --run-id {run} tries again, and makes no second run"
    try:
        with explanation.open_database(place) as database, database.take() as query:
            is_there = read(query, dag, run) is not None
    except AirfleetError as error:
        raise AirfleetError(f"whether the run {run} was made is not known: {error.what}", hint=again) from None
    if not is_there:
        lines = [one_line(line) for line in result.output.splitlines() if line.strip()][-3:]
        told = " / ".join(lines) or f"exit code {result.code}"
        raise AirfleetError(f"Airflow did not make the run: {told}", hint=again)
    return True


def list_words(dag: str, run: str, conf: str | None) -> tuple[str, ...]:
    """Return the arguments of Airflow's command that triggers a run."""
    return ("dags", "trigger", f"--run-id={run}", *([f"--conf={conf}"] if conf else []), "--output=json", "--", dag)


def read(query: Query, dag: str, run: str) -> FollowedRun | None:
    """Return a run as it is now, or None if it does not exist."""
    rows = query(SQL["run"], {"dag": dag, "run": run})
    if not rows:
        return None
    tasks = query(SQL["tasks"], {"dag": dag, "run": run, "limit": MOST_TASKS})
    return FollowedRun(**rows[0], tasks=tuple(FollowedTask(**row) for row in tasks))


def follow(
    place: ReadablePlatform,
    dag: str,
    run: str,
    *,
    show: Callable[[FollowedRun], None],
    notify: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> FollowedRun:
    """Call `show` with each look at the run, and return the last one: the run has ended.

    An outage of the database or of the way to it is waited out; `notify` is called once for each.

    Raises:
        AirfleetError: The run was deleted, or the database was away for PATIENCE_S.
    """
    away: float | None = None

    def look(seen: FollowedRun) -> None:
        nonlocal away
        away = None
        show(seen)

    while True:
        try:
            last = _watch(place, dag, run, look, sleep, clock)
            break
        except AirfleetError as error:
            if away is None:
                away = clock()
                notify(f"the run cannot be read, and is tried again: {error.what}")
            if clock() - away > PATIENCE_S:
                hint = f"the run may go on: airfleet run {dag} --run-id {run} --follow"
                what = f"the run could not be read for {PATIENCE_S:.0f} s: {error.what}"
                raise AirfleetError(what, hint=hint) from None
            sleep(RETRY_S)
    if last is None:
        raise AirfleetError(f"the run {run} of the Dag {dag} was deleted", hint="airfleet audit list")
    return last


def _watch(
    place: ReadablePlatform,
    dag: str,
    run: str,
    show: Callable[[FollowedRun], None],
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> FollowedRun | None:
    """Show the run over one connection until it has ended, and return it then; None once it does not exist."""
    with explanation.open_database(place) as database:
        while True:
            begun = clock()
            with database.take() as query:
                seen = read(query, dag, run)
            if seen is None:
                return None
            show(seen)
            if seen.state in FINISHED:
                return seen
            sleep(max(LOOK_EVERY_S, PAUSES * (clock() - begun)))


def read_log(place: ReadablePlatform, dag: str, run: str, task: FollowedTask) -> Iterator[str]:
    """Yield the last lines of the log of a task's last try, if it is on this machine. What tasks wrote is escaped."""
    lines = task_logs.read_end(place.project, place.state, dag, run, task, most_bytes=LOG_BYTES)
    yield from map(format_line, lines[-LOG_LINES:])


def format_line(line: str) -> str:
    """Return a line of a task's log for people: the time, the level, the text, and the exception if it has one."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return one_line(line)
    error = task_log.find_error([line]) if body.get("error_detail") else None
    parts = (str(body.get("timestamp", ""))[11:19], body.get("level", ""), body.get("event", ""), error or "")
    return one_line(" ".join(str(part) for part in parts if part))
