"""What the scheduler has been notified of since its last loop, and so which Dag runs the next loop is about; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

# A Dag run, by the ids of its Dag and its own.
Run = tuple[str, str]

# A look at everything comes at least so often: what the clock alone brings is not told.
EVERYTHING_S = 1.0
# As many Dag runs as Airflow takes up in one loop.
RUNS_AT_ONCE = 20


@dataclass(slots=True)
class ChangeQueue:
    """Dag runs in which a task has changed, and whether something else has."""

    runs: dict[Run, None] = field(default_factory=dict)
    is_everything: bool = False
    looked_at: float = 0.0

    def hear(self, payloads: Iterable[str]) -> None:
        """Take note; the id of a Dag has no space, and what names no Dag run is about everything."""
        for payload in payloads:
            dag, _, run = payload.partition(" ")
            if run:
                self.runs[dag, run] = None
            else:
                self.is_everything = True

    @property
    def is_left(self) -> bool:
        """Whether there is something to look at now."""
        return self.is_everything or bool(self.runs)

    def choose(self, now: float) -> frozenset[Run] | None:
        """The Dag runs to look at now, those first that were heard of first; None for all there is.

        A look at everything is cut off by Airflow after the runs that waited longest, so what was heard stays.
        """
        if self.is_everything or now - self.looked_at >= EVERYTHING_S:
            self.is_everything, self.looked_at = False, now
            return None
        chosen = frozenset(list(self.runs)[:RUNS_AT_ONCE])
        for run in chosen:
            del self.runs[run]
        return chosen

    def forget(self, runs: Iterable[Run]) -> None:
        """These were looked at."""
        for run in runs:
            self.runs.pop(run, None)
