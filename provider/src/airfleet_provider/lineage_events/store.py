"""Events, deliveries and facts in the database.

An event is read once: its facts, its deliveries and the mark that it was read are one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection

from airfleet_provider.contract.statements import Statements
from airfleet_provider.contract.task_records import GIVEN_UP, READ, SENT, UNKNOWN
from airfleet_provider.lineage_events.facts import DONE, EventFacts

SQL = Statements(__package__, "store")

# An event that a backend refused so often is given up, and so is one that waits for so many seconds.
MOST_REFUSALS, OLDEST_S = 5, 3 * 86_400.0
# Rows of datasets and of columns that one task may have. What is beyond is not kept: a name may have a date in it.
MOST_USES, MOST_COLUMN_USES = 1000, 20_000
# Events and spans that one transaction removes.
MOST_PRUNED = 20_000

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LineageEvent:
    """An event that was not read, and the attempt that wrote it, as the database has it. Without a Dag, it is gone."""

    number: int
    body: str
    dag: str
    task: str
    run: str


@dataclass(frozen=True, slots=True)
class ReadEvent:
    """An event that was read, and the backends that get it. Not known is one of a lost attempt, or of no sense."""

    number: int
    is_known: bool
    backends: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """An event that waits for a backend, since so many seconds."""

    number: int
    failures: int
    body: str
    waited_s: float
    # When its attempt began, if the database still has it.
    started: datetime | None


def list_unread(connection: Connection[Row], most: int) -> list[LineageEvent]:
    """Return the first events that were not read."""
    return [
        LineageEvent(row["number"], row["body"], row["dag"] or "", row["task"] or "", row["run"] or "")
        for row in connection.execute(SQL["unread"], {"most": most})
    ]


def keep_facts(connection: Connection[Row], event: LineageEvent, facts: EventFacts) -> None:
    """Write what an event says of tables and columns, if it says anything. Run it in a transaction."""
    words: Mapping[str, Any] = {"dag": event.dag, "task": event.task, "run": event.run, "event": event.number}
    if facts.kind in DONE and facts.datasets:
        uses = json.dumps([asdict(one) for one in facts.datasets])
        connection.execute(SQL["keep_uses"], {**words, "uses": uses, "most": MOST_USES})
    if facts.kind in DONE and facts.columns:
        columns = json.dumps([asdict(one) for one in facts.columns])
        connection.execute(SQL["keep_columns"], {**words, "columns": columns, "most": MOST_COLUMN_USES})


def mark_read(connection: Connection[Row], read: Sequence[ReadEvent]) -> None:
    """Write that events were read, and who gets them. Run it in the transaction of their facts."""
    pairs = [(backend, one.number) for one in read for backend in one.backends]
    if pairs:
        names, numbers = map(list, zip(*pairs, strict=True))
        connection.execute(SQL["deliver"], {"backends": names, "events": numbers})
    connection.execute(SQL["read"], {"events": [one.number for one in read]})
    known = sum(one.is_known for one in read)
    count(connection, READ, known)
    count(connection, UNKNOWN, len(read) - known)


def list_waiting(connection: Connection[Row], backend: str, most: int) -> list[WaitingEvent]:
    """Return events that wait for a backend, those with the fewest failures first."""
    rows = connection.execute(SQL["waiting"], {"backend": backend, "most": most})
    return [
        WaitingEvent(row["event"], row["failures"], row["body"], float(row["waited_s"]), row["started"]) for row in rows
    ]


def settle(connection: Connection[Row], backend: str, events: Sequence[int]) -> None:
    """Write that a backend has these events."""
    connection.execute(SQL["settle"], {"backend": backend, "events": list(events)})
    count(connection, SENT, len(events))


def refuse(connection: Connection[Row], backend: str, event: int) -> bool:
    """Write that a backend refused an event, and return whether it is given up."""
    connection.execute(SQL["refuse"], {"backend": backend, "event": event})
    words = {"backend": backend, "most": MOST_REFUSALS, "oldest_s": OLDEST_S}
    given_up = len(connection.execute(SQL["give_up"], words).fetchall())
    count(connection, GIVEN_UP, given_up)
    return given_up > 0


def prune(connection: Connection[Row], backends: Sequence[str], keep_days: int) -> int:
    """Remove what is old, and deliveries that nobody waits for; return how many events were given up."""
    connection.execute(SQL["forget_backends"], {"backends": list(backends)})
    given_up = len(connection.execute(SQL["give_up_old"], {"oldest_s": OLDEST_S}).fetchall())
    count(connection, GIVEN_UP, given_up)
    connection.execute(SQL["prune_spools"], {"oldest_s": OLDEST_S})
    for statement in (SQL["prune_uses"], SQL["prune_columns"]):
        connection.execute(statement, {"days": keep_days})
    return given_up


def prune_some(connection: Connection[Row], keep_days: int, event_days: int) -> bool:
    """Remove some old events and spans, and return whether there may be more."""
    words = {"days": keep_days, "event_days": event_days, "most": MOST_PRUNED}
    removed = [connection.execute(sql, words).rowcount for sql in (SQL["prune_events"], SQL["prune_spans"])]
    return MOST_PRUNED in removed


def count(connection: Connection[Row], kind: str, amount: int) -> None:
    """Add to a total."""
    if amount:
        connection.execute(SQL["count"], {"kind": kind, "amount": amount})
