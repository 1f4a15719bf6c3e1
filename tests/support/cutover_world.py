"""Two platforms with hourly Dags, between which Dags are moved. Time passes when a test lets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airfleet.operations.migration.cutover.platform import DagState, EndedRun
from airfleet.operations.migration.cutover.session import Cutover

HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class HourlyAirflow:
    """One platform with hourly Dags. `tick` is what its scheduler does in an hour: the run after the last one."""

    name: str
    runs: dict[str, list[EndedRun]] = field(default_factory=dict)
    paused: dict[str, bool] = field(default_factory=dict)
    active: dict[str, int] = field(default_factory=dict)
    partners: dict[str, frozenset[str]] = field(default_factory=dict)
    needs: dict[str, frozenset[str]] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    schedule: str = "hourly"
    on_pause: Callable[[], None] = lambda: None
    on_hold: Callable[[], None] = lambda: None
    held: str = ""
    tell: Callable[[str], None] = lambda _: None

    def tick(self, dag: str) -> None:
        if not self.paused[dag]:
            known = self.runs[dag]
            moment = known[-1].logical_date + HOUR if known else BEGIN
            # As Airflow does: 2 names a run by its logical date, 3 by the moment from which it may run.
            run_id = f"scheduled__{(moment if self.name == 'old' else moment + HOUR).isoformat()}"
            assert run_id not in {one.run_id for one in known}
            known.append(EndedRun(run_id, moment, moment, moment + HOUR, "success", None, None))

    def read(self, dag_id: str) -> DagState | None:
        if dag_id not in self.paused:
            return None
        known = self.runs[dag_id]
        return DagState(
            dag_id,
            self.paused[dag_id],
            self.schedule,
            self.active.get(dag_id, 0),
            known[-1] if known else None,
            self.partners.get(dag_id, frozenset()),
            self.events.get(dag_id, 0),
            self.needs.get(dag_id, frozenset()),
        )

    @contextmanager
    def hold(self, dag_id: str) -> Iterator[DagState | None]:
        self.on_hold()
        self.held = dag_id
        try:
            yield self.read(dag_id)
        finally:
            self.held = ""

    def pause(self, dag_id: str, *, pause: bool) -> None:
        assert self.held != dag_id
        self.tell(f"{self.name} {dag_id} {pause}")
        if pause:
            self.on_pause()
        self.paused[dag_id] = pause

    def list_since(self, dag_id: str, moment: datetime | None) -> Sequence[EndedRun]:
        return [one for one in self.runs[dag_id] if moment is None or one.logical_date > moment]

    def seed(self, dag_id: str, runs: Sequence[EndedRun]) -> None:
        known = {one.logical_date for one in self.runs[dag_id]}
        self.runs[dag_id] += [one for one in runs if one.logical_date not in known]


def is_seeded(run: EndedRun) -> bool:
    return run.run_id.endswith(("__old", "__new"))


@dataclass
class CutoverWorld:
    folder: Path
    old: HourlyAirflow = field(default_factory=lambda: HourlyAirflow("old"))
    new: HourlyAirflow = field(default_factory=lambda: HourlyAirflow("new"))
    said: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, dag: str) -> None:
        self.old.runs[dag], self.new.runs[dag] = [], []
        self.old.paused[dag], self.new.paused[dag] = False, True

    def open(self) -> Cutover:
        return Cutover(self.old, self.new, self.folder, lambda: self.seconds, self.sleep, self.said.append, 100)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def tick(self, dag: str = "sales", times: int = 1) -> None:
        """Let both schedulers work: hours go by."""
        for _ in range(times):
            self.old.tick(dag)
            self.new.tick(dag)

    def check(self, dag: str = "sales") -> list[datetime]:
        """Return the logical dates of all runs in both platforms, which must be each once and without a gap."""
        moments = sorted(
            one.logical_date for side in (self.old, self.new) for one in side.runs[dag] if not is_seeded(one)
        )
        assert moments == [BEGIN + HOUR * number for number in range(len(moments))]
        return moments
