"""Finds messages whose tasks have ended but whose results were lost. No I/O, no clock.

A result is lost if its worker loses power after the task's last report, or if the database refuses the row. The task
has reported its end to the execution API, so the executor can free its slot.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field

LOOK_EVERY_S = 15.0
# A worker stores the result right after the task has reported its end; an outage of the database delays the result.
PATIENCE_S = 30.0


@dataclass(slots=True)
class LostResults:
    """Remembers since when each result has been missing, in seconds of one process's own clock."""

    looked_at: float = 0.0
    since: dict[str, float] = field(default_factory=dict)

    def is_due(self, now: float) -> bool:
        """Return whether it is time for the next check."""
        return now - self.looked_at >= LOOK_EVERY_S

    def look(self, now: float, sent: Mapping[Hashable, str], awaited: Collection[str]) -> list[Hashable]:
        """Return the keys of messages whose tasks ended at least `PATIENCE_S` ago without a result.

        `sent` maps the key of each message to its id; `awaited` holds the ids whose tasks have not ended.
        """
        self.looked_at = now
        gone = {key: one for key, one in sent.items() if one not in awaited}
        self.since = {one: self.since.get(one, now) for one in gone.values()}
        return [key for key, one in gone.items() if now - self.since[one] >= PATIENCE_S]
