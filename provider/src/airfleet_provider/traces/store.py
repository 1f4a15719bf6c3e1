"""What is kept of traces in the database: the runs whose trace is to be sent, and what became of the others.

A run is noted as waiting before the watermark passes it, and stays so until the collector has confirmed its trace. So a
death at any line loses no trace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import Connection

from airfleet_provider.contract.run_trace import reading
from airfleet_provider.contract.statements import Statements
from airfleet_provider.traces.run_spans import RescheduledTime, SpanEvent, TracedRunRows

SQL = Statements(__package__, "store")

# So many of the newest runs are read in each turn, as ids do not become visible in their order.
OVERLAP = 500
# A run that was cleared is found by its tries of the last so many seconds. Clocks of hosts differ by less.
MADE_S = 90.0
# While no agents process is active, nobody looks. The next one looks so far back, and the moment of a look is written
# each so many seconds.
MOST_MISSED_S, LOOKED_EVERY_S = 3600.0, 30.0
# A run that ended so lately is left for the next turn: the last of its tries may not be written yet.
SETTLED_S = 2.0
# A trace that could not be sent for so long is given up.
OLDEST_S = 3 * 86_400.0
# What was sent is known for so many days. The tries of a run that is cleared later are sent again, as the same spans.
KEPT_DAYS = 14
# So many rows of reschedules and events of one run are read.
MOST_EVENTS = 20_000
# The events of Airflow's log that say something of a try, and that no date of the try has. `running` is there for each
# start and each return.
EVENTS = (
    "running",
    "state mismatch",
    "heartbeat timeout",
    "stuck in queued reschedule",
    "stuck in queued tries exceeded",
)
RETURNED = "returned"
# The kinds of `airfleet.trace_total`.
RUNS_SENT, RUNS_GIVEN_UP, SPANS_SENT, SPANS_REJECTED = "runs sent", "runs given up", "spans sent", "spans rejected"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """An ended run whose trace is not sent. `number` is the key of the run."""

    number: int
    dag: str
    run: str
    ended: datetime
    sent_until: datetime | None
    failures: int


@dataclass(frozen=True, slots=True)
class RunsToNote:
    """Runs that are not noted yet, those that wait for too long, the newest run, and the moment of this look.

    With `is_due`, the moment is to be written even if there is nothing else to write.
    """

    unnoted: Sequence[int]
    old: Sequence[int]
    newest: int
    looked: datetime
    is_due: bool


def find_runs(connection: Connection[Row]) -> RunsToNote:
    """Return what `note` has to write. Reads a few index ranges, whatever the size of the tables.

    Must run in a transaction with one snapshot.
    """
    [moment] = connection.execute(SQL["now"]).fetchall()
    now, before = moment["now"], moment["looked"]
    earliest = now - timedelta(seconds=MOST_MISSED_S)
    made_after = str(_make_bound(max(earliest, min(now, before or now)) - timedelta(seconds=MADE_S)))
    unnoted = connection.execute(SQL["unnoted"], {"overlap": OVERLAP, "made_after": made_after}).fetchall()
    old = connection.execute(SQL["old"], {"oldest_s": OLDEST_S}).fetchall()
    [newest] = connection.execute(SQL["newest"]).fetchall()
    is_due = before is None or now - before > timedelta(seconds=LOOKED_EVERY_S)
    return RunsToNote([row["id"] for row in unnoted], [row["id"] for row in old], newest["id"], now, is_due)


def begin(connection: Connection[Row]) -> None:
    """Set the watermark where no earlier process has."""
    connection.execute(SQL["begin"])


def note(connection: Connection[Row], found: RunsToNote) -> int:
    """Write which runs wait, move the watermark past them, and return how many traces are given up."""
    if found.unnoted:
        connection.execute(SQL["note"], {"ids": list(found.unnoted)})
    connection.execute(SQL["advance"], {"last": found.newest})
    connection.execute(SQL["look"], {"looked": found.looked})
    given_up = len(connection.execute(SQL["give_up"], {"ids": list(found.old)}).fetchall()) if found.old else 0
    _count(connection, {RUNS_GIVEN_UP: given_up})
    return given_up


def list_waiting(connection: Connection[Row], most: int) -> list[WaitingRun]:
    """Return ended runs that wait, those with the fewest failures first."""
    words = {"most": most, "settled_s": SETTLED_S}
    return [
        WaitingRun(row["id"], row["dag"], row["run"], row["ended"], row["sent_until"], row["failures"])
        for row in connection.execute(SQL["waiting"], words)
    ]


def read_run(connection: Connection[Row], waiting: WaitingRun) -> TracedRunRows | None:
    """Return all that the database has of a run, or None if it is gone or runs again.

    Must run in a transaction with one snapshot.
    """
    traced = reading.read(lambda text, words: connection.execute(text, words).fetchall(), waiting.dag, waiting.run)
    if traced is None or traced.state not in ("success", "failed"):
        return None
    # A run that was marked by hand may have no end. What stands for it must be the same each time.
    traced = replace(traced, ended=waiting.ended)
    words = {"dag": waiting.dag, "run": waiting.run, "most": MOST_EVENTS}
    rescheduled: defaultdict[str, list[RescheduledTime]] = defaultdict(list)
    for row in connection.execute(SQL["rescheduled"], words):
        rescheduled[row["try"]].append(RescheduledTime(row["begin"], row["until"]))
    tries = {(one.task, one.map_index, one.number): one for one in traced.tries}
    events: defaultdict[str, list[SpanEvent]] = defaultdict(list)
    started: set[str] = set()
    for row in connection.execute(SQL["events"], {**words, "events": list(EVENTS)}):
        one = tries.get((row["task"], row["map_index"], row["number"]))
        if one is None:
            continue
        if row["event"] == "running" and one.id not in started:
            started.add(one.id)  # its first start, which the span itself has
        else:
            name = RETURNED if row["event"] == "running" else row["event"]
            events[one.id].append(SpanEvent(name, row["at"]))
    return TracedRunRows(traced, rescheduled, events, waiting.sent_until)


def settle(connection: Connection[Row], runs: Sequence[WaitingRun], totals: Mapping[str, int]) -> None:
    """Write that the runs wait no more, and add to the totals."""
    for one in runs:
        connection.execute(SQL["settle"], {"id": one.number, "ended": one.ended})
    _count(connection, totals)


def _count(connection: Connection[Row], totals: Mapping[str, int]) -> None:
    for kind, amount in totals.items():
        if amount:
            connection.execute(SQL["count"], {"kind": kind, "amount": amount})


def fail(connection: Connection[Row], runs: Sequence[WaitingRun]) -> None:
    """Write that an attempt for the runs failed."""
    connection.execute(SQL["fail"], {"ids": [one.number for one in runs]})


def prune(connection: Connection[Row]) -> None:
    """Remove runs that were deleted, and those whose trace was sent long ago."""
    connection.execute(SQL["prune_deleted"])
    connection.execute(SQL["prune_old"], {"days": KEPT_DAYS, "overlap": OVERLAP})


def forget(connection: Connection[Row]) -> None:
    """Remove what is known, as no traces are wanted: of runs until they are wanted again, none is sent."""
    connection.execute(SQL["forget"])


def _make_bound(moment: datetime) -> UUID:
    """Return the lowest UUID of version 7 of a moment. As a literal, it bounds what of the primary key is read."""
    milliseconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    return UUID(int=milliseconds << 80)
