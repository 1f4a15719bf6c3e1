"""Reads what happened from the database of a platform, with a function that runs one statement."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import LiteralString

from airfleet_provider.contract.explanation.reading import Query
from airfleet_provider.contract.incident.events import IncidentEvent, TimeLine, merge
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "reading")

# Of each source, so many of the newest events are read.
MOST_EVENTS = 2000


def read(query: Query, since: datetime, until: datetime) -> TimeLine:
    """Return what happened in a span of time, in its order."""
    words = {"since": since, "until": until, "limit": MOST_EVENTS}
    events: list[IncidentEvent] = []
    is_cut = False
    for statement in _list_statements():
        rows = query(statement, words)
        is_cut = is_cut or len(rows) == MOST_EVENTS
        events += [IncidentEvent(**row) for row in rows]
    return TimeLine(since, until, merge(events), is_cut)


def _list_statements() -> Iterator[LiteralString]:
    yield from (SQL["audit"], SQL["lost_tasks"], SQL["runs"], SQL["releases"], SQL["schedulers"], SQL["components"])
    yield from (SQL["alerts"], SQL["answers"], SQL["promises"], SQL["breakers"], SQL["imports"])
