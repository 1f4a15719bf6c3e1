"""For how long the heartbeat of each task has not changed, by one clock. No I/O.

The api-server that receives a heartbeat stamps it, and that host's clock may be minutes off. So a stamp is never
compared with a clock: only a stamp that differs from the one before shows that its task lives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The host of a running task, and the stamp of its last heartbeat."""

    host: str
    stamp: object


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A stamp, and since when it has not changed, in seconds of the scheduler's clock."""

    stamp: object
    since: float


class HeartbeatHistory:
    """The heartbeats of running tasks as one scheduler saw them."""

    def __init__(self) -> None:
        self._seen: dict[object, Unchanged] = {}

    def look(self, now: float, beats: Mapping[object, Heartbeat]) -> None:
        """Record the stamps of all running tasks; a new task counts as having reported at `now`."""
        seen, self._seen = self._seen, {}
        for task, beat in beats.items():
            before = seen.get(task)
            is_same = before is not None and before.stamp == beat.stamp
            self._seen[task] = Unchanged(beat.stamp, before.since if before and is_same else now)

    def find(self, now: float, silent_s: float) -> Collection[object]:
        """Return the tasks whose stamp has not changed for `silent_s` seconds."""
        return frozenset(task for task, one in self._seen.items() if now - one.since >= silent_s)
