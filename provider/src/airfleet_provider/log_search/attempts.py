"""Whether a line can be of the try whose name it has, by what the database knows of that try.

All tasks of a host run as one user, so a task can write into the file of another one, or make a file for a try that was
never there. The index takes the name of a try from the path. The database does not: what cannot be is marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from airfleet_provider.contract.statements import Statements
from airfleet_provider.log_index.lines import LineOrigin
from airfleet_provider.log_index.store import Hit

SQL = Statements(__package__, "attempts")

# Seconds that a line may be before the try existed or after it ended: clocks of hosts differ, and listeners write last.
MARGIN_S = 120.0
# So many tries are looked up.
MOST_ATTEMPTS = 2000
# States in which a try writes no more.
ENDED = frozenset({"success", "failed", "skipped", "removed", "upstream_failed", "up_for_retry"})

AttemptKey = tuple[str, str, str, int, int]


@dataclass(frozen=True, slots=True)
class KnownAttempt:
    """What the database has of a try: its id, its state and its end. Without an id there is no such try in its run."""

    id: str = ""
    state: str = ""
    ended: datetime | None = None


def read(connection: Any, hits: Iterable[Hit]) -> Mapping[AttemptKey, KnownAttempt]:  # noqa: ANN401 - psycopg2's
    """Return what the database has of the tries of these lines. Of a run that is gone, nothing is known."""
    keys = list(dict.fromkeys(hit.origin.attempt for hit in hits if hit.origin.dag))[-MOST_ATTEMPTS:]
    if not keys:
        return {}
    names = ("dags", "tasks", "runs", "indexes", "numbers")
    words = dict(zip(names, map(list, zip(*keys, strict=True)), strict=True))
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(SQL["known"], words)
        return {tuple(row[:5]): KnownAttempt(row[5] or "", row[6] or "", row[7]) for row in cursor.fetchall()}


def find_doubt(at: int, origin: LineOrigin, known: Mapping[AttemptKey, KnownAttempt]) -> str:
    """Return why a line of the moment `at`, in microseconds, cannot be of its try, or "" if it can."""
    attempt = known.get(origin.attempt)
    # The rest of a log that has no number of a try, such as that of a template of another form, says nothing.
    if attempt is None or not origin.try_number:
        return ""
    if not attempt.id:
        return "the run has no such try"
    if at / 1e6 < (UUID(attempt.id).int >> 80) / 1000 - MARGIN_S:
        return "written before this try existed"
    if attempt.ended and attempt.state in ENDED and at / 1e6 > attempt.ended.timestamp() + MARGIN_S:
        return "written after this try had ended"
    return ""
