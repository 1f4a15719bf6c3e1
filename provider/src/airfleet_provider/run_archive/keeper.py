"""`airflow airfleet archive keep`: a process that archives old runs by itself, every so many hours, with a budget.

Each scheduler host has one. The database knows when the last archive ended, and the archive's lock lets one work at a
time, so that they share one timetable. The work is done in a process of its own, which may be killed at any moment.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from airfleet_provider.compat.calls import metadata_db
from airfleet_provider.contract import job_schema
from airfleet_provider.processes import command_line

# How often it looks whether the next archive is due, also when the last one has failed.
LOOK_S = 600.0
# Seconds that an archive at work has to end.
END_S = 5.0
ENDED_AT = "SELECT ended_at FROM airfleet.job WHERE name = %s"


@dataclass(frozen=True, slots=True)
class Plan:
    """What the process does: `words` are the arguments of `airflow airfleet archive run` that are always the same."""

    every: timedelta
    retention: timedelta
    words: tuple[str, ...]


def find_wait(plan: Plan, ended_at: datetime | None, now: datetime) -> timedelta:
    """How long it is until the next archive is due; nothing if it is due now.

    A last archive that is yet to come was written down by a clock that was wrong, perhaps by years.
    """
    if ended_at is None or ended_at > now + plan.every:
        return timedelta()
    return max(timedelta(), ended_at + plan.every - now)


def find_cut(plan: Plan, now: datetime) -> datetime:
    """The moment before which runs must have ended: a Monday in UTC, at least the retention ago.

    Each archive writes a file of each table for each Dag that has runs to archive. So a Dag has some files a week, and
    not some at each archive.
    """
    latest = now.astimezone(UTC) - plan.retention
    return (latest - timedelta(days=latest.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)


def keep(
    plan: Plan,
    *,
    read_last: Callable[[], datetime | None],
    archive: Callable[[Sequence[str]], int],
    now: Callable[[], datetime],
    sleep: Callable[[float], None],
) -> NoReturn:
    """Archive whenever it is due, for ever. An archive that fails is tried again at the next look."""
    while True:
        try:
            wait_s = find_wait(plan, read_last(), now()).total_seconds()
        except Exception as error:  # a database that is away comes back
            command_line.say(f"cannot read when the last archive ended: {error}".strip())
            wait_s = LOOK_S
        if wait_s <= 0:
            before = find_cut(plan, now())
            command_line.say(f"archiving the runs that ended before {before:%Y-%m-%d %H:%M} UTC")
            if code := archive((*plan.words, "--by-timetable", "--before", before.isoformat())):
                command_line.say(f"the archive ended with the code {code}; the next try is in {LOOK_S:.0f} s")
            # Also after a success that nobody could write down.
            wait_s = LOOK_S
        sleep(min(wait_s, LOOK_S))


def read_last() -> datetime | None:
    """When the last archive ended with success. Raises what the database raises."""
    with closing(metadata_db.connect("airfleet archive keep")) as connection, connection.cursor() as cursor:
        cursor.execute(ENDED_AT, (job_schema.RUN_ARCHIVE,))
        found = cursor.fetchone()
        return found[0] if found else None


def run(plan: Plan) -> NoReturn:
    """Archive by the clock until SIGTERM or SIGINT; an archive at work ends then, and the next one goes on."""

    def stop(number: int, frame: object) -> NoReturn:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    def archive(words: Sequence[str]) -> int:
        return run_to_end([sys.executable, "-P", "-m", "airflow", "airfleet", "archive", "run", *words])

    keep(plan, read_last=read_last, archive=archive, now=lambda: datetime.now(UTC), sleep=time.sleep)


def run_to_end(command: Sequence[str]) -> int:
    """Run a program and return its exit code. An exception of a signal's handler ends the program first."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        return child.wait()
    except BaseException:
        # Not in the handler: `wait` holds a lock there, and would not see the end of the child.
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(END_S)
        raise
