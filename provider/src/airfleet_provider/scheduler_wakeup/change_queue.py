"""The notifications since the last scheduler loop, and the Dag runs that the next loop examines. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

# A Dag run: the id of its Dag, and its run id.
Run = tuple[str, str]

# Seconds after which a loop examines all Dag runs: no notification reports what becomes due by time.
EVERYTHING_S = 1.0
# As many Dag runs as Airflow examines in one loop.
RUNS_AT_ONCE = 20


@dataclass(slots=True)
class ChangeQueue:
    """Dag runs with a changed task, and whether something else has changed."""

    runs: dict[Run, None] = field(default_factory=dict)
    is_everything: bool = False
    looked_at: float = 0.0

    def hear(self, payloads: Iterable[str]) -> None:
        """Record notifications: a Dag id, a space and a run id, or any other payload, which concerns all Dag runs."""
        for payload in payloads:
            dag, _, run = payload.partition(" ")
            if run:
                self.runs[dag, run] = None
            else:
                self.is_everything = True

    @property
    def is_left(self) -> bool:
        """Whether a change is left to examine."""
        return self.is_everything or bool(self.runs)

    def list_next(self, tried: Collection[Run]) -> list[Run]:
        """Return the next recorded Dag runs without those in `tried`, at most as many as a loop examines."""
        return [run for run in self.runs if run not in tried][:RUNS_AT_ONCE]

    def choose(self, now: float) -> frozenset[Run] | None:
        """Return the Dag runs to examine now, in the order of their notifications, or None for all Dag runs.

        If Airflow examines all Dag runs, it stops after the `RUNS_AT_ONCE` that waited longest. So the recorded Dag
        runs stay recorded then.
        """
        if self.is_everything or now - self.looked_at >= EVERYTHING_S:
            self.is_everything, self.looked_at = False, now
            return None
        chosen = frozenset(list(self.runs)[:RUNS_AT_ONCE])
        for run in chosen:
            del self.runs[run]
        return chosen

    def forget(self, runs: Iterable[Run]) -> None:
        """Remove Dag runs that a loop has examined."""
        for run in runs:
            self.runs.pop(run, None)
