"""For how long each task has been silent: whether what it last said has changed, by one clock. No I/O.

A heartbeat is stamped by the api-server that took it, and its clock may be minutes off. So a stamp is never compared
with a clock; only whether it is another than before says that its task lives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What is known of a task that runs: its host, and the stamp of its last sign of life."""

    host: str
    stamp: object


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A stamp, and since when it is the last one."""

    stamp: object
    since: float


class HeartbeatHistory:
    """What one scheduler saw of the tasks that run."""

    def __init__(self) -> None:
        self._seen: dict[object, Unchanged] = {}

    def look(self, now: float, beats: Mapping[object, Heartbeat]) -> None:
        """Take in the stamps of all tasks that run now; a task that is new has spoken just now."""
        seen, self._seen = self._seen, {}
        for task, beat in beats.items():
            before = seen.get(task)
            is_same = before is not None and before.stamp == beat.stamp
            self._seen[task] = Unchanged(beat.stamp, before.since if before and is_same else now)

    def find(self, now: float, silent_s: float) -> Collection[object]:
        """The tasks whose stamp has been the same for so long."""
        return frozenset(task for task, one in self._seen.items() if now - one.since >= silent_s)
