"""The runs that can keep the daily promises, as the reader keeps them from one reading to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from airfleet_provider.slas.observations import ObservedRun

# The Dag and the run.
RunKey = tuple[str, str]

# The runs of a day are read again after so long; until then, those that change are added.
DAYS_AGE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class DayRuns:
    """The runs of these Dags that were due since a moment, without their tasks."""

    since: datetime | None = None
    dags: frozenset[str] = frozenset()
    read_at: datetime | None = None
    runs: Mapping[RunKey, ObservedRun] = field(default_factory=dict)

    def holds(self, dags: Iterable[str], since: datetime, now: datetime) -> bool:
        """Return whether the runs of these Dags since a moment are among them, and were read not long ago."""
        if self.since is None or self.read_at is None:
            return False
        return self.dags.issuperset(dags) and self.since <= since and now - self.read_at < DAYS_AGE

    def add(self, runs: Mapping[RunKey, ObservedRun]) -> DayRuns:
        """Return them with runs that are active, new, or have just ended."""
        since = self.since
        if since is None:
            return self
        own = {key: run for key, run in runs.items() if run.dag_id in self.dags and run.run_after >= since}
        return replace(self, runs={**self.runs, **own})
