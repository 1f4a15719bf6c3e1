"""Which messages nobody will ever report on, although their tasks have ended; pure.

A result may be lost: its worker lost power after the task's last word, or the database refused the row. The task has
told the execution API how it ended, so that the executor can free its slot.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field

LOOK_EVERY_S = 15.0
# A worker leaves its result right after the task has told how it ended; a database that is away delays it.
PATIENCE_S = 30.0


@dataclass(slots=True)
class LostResults:
    """Remembers since when a message has been waited for in vain; by one process's own clock."""

    looked_at: float = 0.0
    since: dict[str, float] = field(default_factory=dict)

    def is_due(self, now: float) -> bool:
        """Whether it is time to look at the tasks again."""
        return now - self.looked_at >= LOOK_EVERY_S

    def look(self, now: float, sent: Mapping[Hashable, str], awaited: Collection[str]) -> list[Hashable]:
        """The keys of messages whose tasks have long ended; `sent` has the id of each message by its key."""
        self.looked_at = now
        gone = {key: one for key, one in sent.items() if one not in awaited}
        self.since = {one: self.since.get(one, now) for one in gone.values()}
        return [key for key, one in gone.items() if now - self.since[one] >= PATIENCE_S]
