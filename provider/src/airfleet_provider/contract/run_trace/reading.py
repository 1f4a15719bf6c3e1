"""Reads the times of a run and of its tries from the metadata database, with a function that runs one statement."""

from __future__ import annotations

from airfleet_provider.contract.explanation import reading
from airfleet_provider.contract.explanation.reading import Query
from airfleet_provider.contract.run_trace.spans import TracedRun, Try, UserSpan
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "reading")

# A run with more tries is read in part.
MOST_TRIES = 20_000
# Spans of the code of its tasks.
MOST_USER_SPANS = 5000


def read(query: Query, dag: str, run: str) -> TracedRun | None:
    """Return a run with its tries, or None if it does not exist. Tries that have no time yet are left out."""
    rows = query(SQL["run"], {"dag": dag, "run": run})
    if not rows:
        return None
    [one] = rows
    listed = query(SQL["tries"], {"dag": dag, "run": run, "limit": MOST_TRIES})
    tries = tuple(Try(**row) for row in listed)
    spec, _ = reading.read_spec(query, dag, release=one["release"], version=one["version"])
    return TracedRun(
        dag=dag,
        run=one["run"],
        state=one["state"],
        release=one["release"] or "",
        begun=one["queued"] or one["created"] or one["run_after"],
        started=one["started"],
        ended=one["ended"],
        now=one["now"],
        tries=tries,
        upstream={name: task.upstream for name, task in spec.tasks.items()} if spec else {},
        kind=one["kind"],
        created=one["created"],
        clear_number=one["clear_number"],
        user_spans=_read_user_spans(query, dag, run),
    )


def _read_user_spans(query: Query, dag: str, run: str) -> tuple[UserSpan, ...]:
    if not query(SQL["has_user_spans"], {})[0]["found"]:
        return ()
    words = {"dag": dag, "run": run, "limit": MOST_USER_SPANS}
    return tuple(UserSpan(**row) for row in query(SQL["user_spans"], words))
