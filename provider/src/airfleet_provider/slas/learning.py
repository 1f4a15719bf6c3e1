"""What is learned of finished runs: samples of each Dag, kept in the database, and the profile that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airfleet_provider.slas import prediction
from airfleet_provider.slas.observations import BACKFILL, SUCCESS, ObservedRun
from airfleet_provider.slas.prediction import MOST_SAMPLES, Measure, Profile

# Of a Dag with more tasks, only whole runs are measured.
MOST_TASKS = 500


@dataclass(frozen=True, slots=True)
class Samples:
    """The last successful runs of a Dag: the seconds of each, and the measures of their tasks."""

    totals: tuple[float, ...] = ()
    tasks: Mapping[str, tuple[Measure, ...]] = field(default_factory=dict)

    def add(self, run: ObservedRun, downstream: Mapping[str, Iterable[str]]) -> Samples:
        """Return the samples with one more run, without the oldest if there are too many."""
        if run.started_at is None or run.ended_at is None:
            return self
        # What is kept of a Dag is written after each run, so it must stay small.
        spans = run.spans if len(run.spans) <= MOST_TASKS else {}
        measures = prediction.measure(spans, downstream, run.started_at)
        tasks = dict(self.tasks)
        for name, one in measures.items():
            tasks[name] = (*tasks.get(name, ()), one)[-MOST_SAMPLES:]
        total = max((run.ended_at - run.started_at).total_seconds(), 0.0)
        return Samples((*self.totals, total)[-MOST_SAMPLES:], tasks)

    def summarise(self) -> Profile | None:
        """Return the profile, or None if there are too few samples."""
        return prediction.summarise(self.totals, self.tasks)

    def to_json(self) -> dict[str, Any]:
        """Return the samples as plain data, in tenths of seconds; `from_json` reads them."""
        return {
            "totals": [round(one, 1) for one in self.totals],
            "tasks": {
                name: [[round(one.duration_s, 1), round(one.rest_s, 1), round(one.end_s, 1)] for one in found]
                for name, found in self.tasks.items()
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Samples:
        """Return the samples that `to_json` wrote."""
        tasks = {name: tuple(Measure(*one) for one in found) for name, found in data["tasks"].items()}
        return cls(tuple(data["totals"]), tasks)


def teaches(run: ObservedRun) -> bool:
    """Return whether a run says how long the Dag takes: it succeeded, and its tasks are known."""
    return run.state == SUCCESS and run.run_type != BACKFILL and run.tasks is not None
