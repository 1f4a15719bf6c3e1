"""The cut-over of Dags: what it refuses, what a killed command leaves, and that no run is doubled or skipped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.migration.cutover import journal, session
from airfleet.operations.migration.cutover.journal import CutoverPhase
from airfleet.operations.migration.cutover.platform import (
    DagState,
    EndedRun,
    describe_schedule,
    find_needs,
    find_partners,
)
from airfleet.operations.migration.cutover.session import Cutover, list_groups
from killed_lines import run_until

HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Airflow:
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
class World:
    folder: Path
    old: Airflow = field(default_factory=lambda: Airflow("old"))
    new: Airflow = field(default_factory=lambda: Airflow("new"))
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


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    # Nothing cuts the power here.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    made = World(tmp_path)
    made.add("sales")
    made.tick(times=5)
    return made


def test_a_dag_goes_and_comes_back_without_a_run_twice_or_missing(world: World) -> None:
    world.open().move(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (True, False)
    world.tick(times=3)
    assert len(world.check()) == 8
    world.open().bring_back(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (False, True)
    world.tick(times=2)
    assert len(world.check()) == 10
    assert journal.read(world.folder) == {}
    world.open().move(["sales"])
    world.tick(times=2)
    assert len(world.check()) == 12


def test_a_cut_over_that_was_killed_at_any_line_goes_on_or_goes_back(world: World) -> None:
    lines = run_until(lambda: world.open().move(["sales"]), None, session)
    back = run_until(lambda: world.open().bring_back(["sales"]), None, session)
    assert (len(lines) > 25, len(back) > 20) == (True, True)
    for line in lines:
        run_until(lambda: world.open().move(["sales"]), line, session)
        world.tick()
        world.open().move(["sales"])
        world.tick()
        world.check()
        world.open().bring_back(["sales"])
        world.tick()
        # And the other way: a move that was killed is taken back.
        run_until(lambda: world.open().move(["sales"]), line, session)
        world.tick()
        if journal.read(world.folder):
            world.open().bring_back(["sales"])
        world.tick()
        world.check()
        assert (world.old.paused["sales"], world.new.paused["sales"]) == (False, True)
    for line in back:
        world.open().move(["sales"])
        world.tick()
        run_until(lambda: world.open().bring_back(["sales"]), line, session)
        world.tick()
        if journal.read(world.folder):
            world.open().bring_back(["sales"])
        world.tick()
        world.check()
        assert (world.old.paused["sales"], world.new.paused["sales"]) == (False, True)


def test_what_somebody_wrote_into_the_old_database_is_no_id_and_no_state_here(world: World) -> None:
    last = world.old.runs["sales"][-1]
    world.old.runs["sales"][-1] = replace(last, run_id="x/../../../etc", state="\x1b[2Jmine")
    with pytest.raises(AirfleetError, match=r"has the state \?\[2Jmine"):
        world.open().move(["sales"])
    assert (world.old.paused["sales"], world.new.runs["sales"]) == (False, [])
    world.old.runs["sales"][-1] = replace(world.old.runs["sales"][-1], state="failed")
    world.open().move(["sales"])
    [seeded] = world.new.runs["sales"]
    assert seeded.run_id == f"scheduled__{last.logical_date.isoformat()}__old"


def test_a_run_that_begins_while_the_dag_is_paused_is_waited_for(world: World) -> None:
    def begin() -> None:
        world.old.active["sales"] = 1
        world.old.on_pause = lambda: None

    world.old.on_pause = begin
    cutover = world.open()
    unpaused: list[bool] = []

    def sleep(_: float) -> None:
        unpaused.append(not world.old.paused["sales"])
        world.old.active["sales"] = 0

    Cutover(world.old, world.new, world.folder, lambda: 0.0, sleep, cutover.tell).move(["sales"])
    assert unpaused == [True]
    assert world.old.paused["sales"]


def test_a_run_that_does_not_end_leaves_the_dag_where_it_is(world: World) -> None:
    world.old.active["sales"] = 1
    with pytest.raises(AirfleetError, match="unfinished runs in old"):
        world.open().move(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (False, True)
    world.old.active["sales"] = 0
    world.tick()
    world.open().move(["sales"])
    world.tick()
    world.check()


def test_a_dag_that_was_paused_stays_paused(world: World) -> None:
    world.old.paused["sales"] = True
    world.old.events["sales"] = 1
    world.open().move(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (True, True)
    world.open().bring_back(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (True, True)


def test_a_command_to_copy_holds_no_command_that_somebody_wrote_as_an_id(world: World) -> None:
    world.old.partners["sales"] = frozenset({"x; rm -rf ~"})
    with pytest.raises(UsageError) as found:
        world.open().move(["sales"])
    assert found.value.hint.endswith("airfleet migrate cutover sales 'x; rm -rf ~'")


def test_a_dag_is_refused_before_anything_is_done(world: World) -> None:
    world.add("other")

    def refuse(words: str, dags: Sequence[str] = ("other", "sales")) -> None:
        with pytest.raises(UsageError, match=words):
            world.open().move(dags)
        assert not world.old.paused["other"]
        assert journal.read(world.folder) == {}

    world.new.schedule = "daily"
    refuse("another schedule")
    world.new.schedule = "hourly"
    world.new.paused["sales"] = False
    refuse("not paused")
    world.new.paused["sales"] = True
    world.old.partners["sales"] = frozenset({"third"})
    refuse("tied to third")
    world.old.partners.clear()
    world.new.seed("sales", [EndedRun("x", BEGIN + 99 * HOUR, BEGIN, BEGIN, "success", None, None)])
    refuse("has run here")
    world.new.runs["sales"].clear()
    world.old.events["sales"] = 1
    refuse("1 of the datasets")
    refuse("no active Dag nobody", ("other", "nobody"))
    with pytest.raises(UsageError, match="was not moved"):
        world.open().bring_back(["sales"])


def test_dags_that_wait_for_each_other_are_found() -> None:
    dependencies: dict[str, object] = {
        "sales": [{"source": "load", "target": "sales", "dependency_type": "sensor", "dependency_id": "wait"}],
        "load": [{"source": "load", "target": "dataset", "dependency_type": "dataset", "dependency_id": "s3://x"}],
        "report": [{"source": "dataset", "target": "report", "dependency_type": "dataset", "dependency_id": "s3://x"}],
        "alone": [],
        "odd": None,
    }
    assert find_partners("load", dependencies) == {"sales", "report"}
    assert find_partners("sales", dependencies) == {"load"}
    assert find_partners("alone", dependencies) == set()
    # A run of sales waits for load, and one of load makes one of report.
    needs = {dag: find_needs(dag, dependencies) for dag in dependencies}
    assert needs == {"sales": {"load"}, "load": {"report"}, "report": set(), "alone": set(), "odd": set()}


@pytest.fixture
def tied(world: World) -> World:
    """Runs of `sales` write the dataset from which those of `report` are made."""
    world.add("report")
    for side in (world.old, world.new):
        side.partners = {"sales": frozenset({"report"}), "report": frozenset({"sales"})}
        side.needs = {"sales": frozenset({"report"})}
    return world


def test_a_dag_whose_runs_feed_others_is_paused_before_them_and_runs_here_after_them(tied: World) -> None:
    changes: list[str] = []
    tied.old.tell = tied.new.tell = changes.append
    tied.open().move(["report", "sales"])
    assert changes == ["old sales True", "old report True", "new report False", "new sales False"]
    changes.clear()
    tied.open().bring_back(["report", "sales"])
    assert changes == ["new sales True", "new report True", "old report False", "old sales False"]


def test_tied_dags_go_on_where_they_are_if_one_of_them_cannot_be_paused(tied: World) -> None:
    tied.old.active["report"] = 1
    with pytest.raises(AirfleetError, match="report still has unfinished runs"):
        tied.open().move(["sales", "report"])
    assert (tied.old.paused, tied.new.paused) == (
        {"sales": False, "report": False},
        {"sales": True, "report": True},
    )
    tied.old.active.clear()
    tied.tick()
    tied.open().move(["sales", "report"])
    tied.tick()
    tied.check()


def test_dags_that_need_each_other_are_one_group_in_the_order_of_their_names(tied: World) -> None:
    tied.old.needs["report"] = frozenset({"sales"})
    known = {dag: tied.old.read(dag) for dag in ("report", "sales")}
    assert list_groups({dag: one for dag, one in known.items() if one}) == [["report", "sales"]]


def test_a_move_that_was_killed_lets_no_dag_run_on_both_sides(world: World) -> None:
    # Killed before it was written down that the Dag runs here. Then somebody triggers a run in Airflow 2.
    world.open().move(["sales"])
    [moved] = journal.read(world.folder).values()
    journal.write(world.folder, {"sales": replace(moved, phase=CutoverPhase.STARTING)})
    world.old.active["sales"] = 1
    world.open().move(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (True, False)


def test_a_dag_that_somebody_unpauses_in_airflow_2_before_it_runs_here_stays_there(world: World) -> None:
    def unpause() -> None:
        world.old.paused["sales"] = False
        world.old.on_hold = lambda: None

    world.old.on_hold = unpause
    with pytest.raises(AirfleetError, match="unpaused sales in old; it runs there, and not here"):
        world.open().move(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (False, True)
    world.tick(times=2)
    world.open().move(["sales"])
    world.tick(times=2)
    assert len(world.check()) == 9


def test_a_run_that_began_after_the_pause_ends_before_the_dag_is_moved(world: World) -> None:
    def run() -> None:
        """Somebody unpauses the Dag, its scheduler begins a run, and somebody pauses it again."""
        world.old.active["sales"] = 1
        world.old.on_hold = lambda: None

    world.old.on_hold = run
    with pytest.raises(AirfleetError, match="a run of sales began in old"):
        world.open().move(["sales"])
    assert world.new.paused["sales"]
    unpaused: list[bool] = []

    def sleep(_: float) -> None:
        unpaused.append(not world.old.paused["sales"])
        world.old.active["sales"] = 0

    Cutover(world.old, world.new, world.folder, lambda: 0.0, sleep, world.said.append).move(["sales"])
    assert unpaused == [True]
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (True, False)


def test_tied_dags_go_on_there_if_somebody_unpauses_one_of_them_there(tied: World) -> None:
    def unpause() -> None:
        # While the command pauses the second Dag, somebody unpauses the first.
        if tied.old.paused["sales"]:
            tied.old.paused["sales"] = False

    tied.old.on_pause = unpause
    with pytest.raises(AirfleetError, match="unpaused sales in old"):
        tied.open().move(["sales", "report"])
    assert not any(tied.old.paused.values())
    assert all(tied.new.paused.values())


@pytest.mark.parametrize("phase", [CutoverPhase.WAITING, CutoverPhase.SEEDING])
def test_a_dag_that_somebody_unpaused_here_in_the_meantime_is_not_moved(world: World, phase: CutoverPhase) -> None:
    journal.write(world.folder, {"sales": journal.DagRecord("sales", phase, was_paused=False)})
    world.new.paused["sales"] = False
    with pytest.raises(AirfleetError, match="unpaused sales here before it was moved"):
        world.open().move(["sales"])


@pytest.mark.parametrize("phase", [CutoverPhase.STARTING, CutoverPhase.MOVED])
def test_a_dag_that_runs_on_both_sides_is_named_and_can_be_brought_back(world: World, phase: CutoverPhase) -> None:
    world.open().move(["sales"])
    [moved] = journal.read(world.folder).values()
    journal.write(world.folder, {"sales": replace(moved, phase=phase)})
    world.old.paused["sales"] = False
    with pytest.raises(AirfleetError, match="it runs there and here"):
        world.open().move(["sales"])
    assert not world.new.paused["sales"]
    world.open().bring_back(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (False, True)


def test_a_dag_that_somebody_unpauses_here_on_its_way_back_goes_on_here(world: World) -> None:
    world.open().move(["sales"])
    world.tick()

    def unpause() -> None:
        world.new.paused["sales"] = False
        world.new.on_hold = lambda: None

    world.new.on_hold = unpause
    with pytest.raises(AirfleetError, match="on its way back; it goes on here"):
        world.open().bring_back(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (True, False)
    world.tick()
    world.open().bring_back(["sales"])
    world.tick()
    assert len(world.check()) == 8


def test_a_dag_that_never_ran_here_does_not_begin_to_on_its_way_back(world: World) -> None:
    # Somebody triggered a run here to try the Dag; it waits, as the Dag is paused.
    world.old.active["sales"] = world.new.active["sales"] = 1
    with pytest.raises(AirfleetError, match="unfinished runs in old"):
        world.open().move(["sales"])
    world.open().bring_back(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (False, True)
    assert journal.read(world.folder) == {}


def test_one_schedule_reads_the_same_in_both_versions() -> None:
    cron = {"__type": "airflow.timetables.interval.CronDataIntervalTimetable"}
    words = {"expression": "@daily", "timezone": "UTC"}
    assert describe_schedule({**cron, "__var": words}) == describe_schedule(
        {**cron, "__var": {"timezone": {"__type": "timezone", "__var": "UTC"}, "expression": "@daily"}}
    )
    other = {"__type": "airflow.timetables.trigger.CronTriggerTimetable", "__var": words}
    assert describe_schedule(other) != describe_schedule({**cron, "__var": words})
    assert describe_schedule(None) == "unknown"


def test_the_record_says_how_far_a_dag_is(world: World) -> None:
    world.open().move(["sales"])
    [record] = journal.read(world.folder).values()
    assert (record.phase, record.last) == (CutoverPhase.MOVED, (BEGIN + 4 * HOUR).isoformat())
    (world.folder / journal.NAME).write_text("{")
    with pytest.raises(AirfleetError, match="cannot be read"):
        world.open().move(["sales"])


def test_what_airflow_3_renamed_in_schedules_is_no_difference() -> None:
    uris = ("s3://a", "s3://b")
    old: dict[str, object] = {"objects": [{"__type": "dataset", "uri": uri, "extra": None} for uri in uris]}
    new: dict[str, object] = {
        "objects": [{"__type": "asset", "name": uri, "uri": uri, "group": "asset", "extra": {}} for uri in uris]
    }
    both = {"__type": "airflow.timetables.simple.DatasetTriggeredTimetable"}
    all_of = {**both, "__var": {"dataset_condition": {"__type": "dataset_all", **old}}}
    any_of = {**both, "__var": {"dataset_condition": {"__type": "dataset_any", **old}}}
    after = {
        "__type": "airflow.timetables.simple.AssetTriggeredTimetable",
        "__var": {"asset_condition": {"__type": "asset_all", **new}},
    }
    assert describe_schedule(all_of) == describe_schedule(after)
    assert describe_schedule(any_of) != describe_schedule(after)

    cron = {"expression": "0 6 * * *", "timezone": "UTC", "interval": 0.0}
    kind = {"__type": "airflow.timetables.trigger.CronTriggerTimetable"}
    assert describe_schedule({**kind, "__var": cron}) == describe_schedule(
        {**kind, "__var": {**cron, "run_immediately": False}}
    )
    events = {"__type": "airflow.timetables.events.EventsTimetable"}
    assert describe_schedule(
        {**events, "__var": {"event_dates": ["2026-01-01 00:00:00+00:00"], "restrict_to_events": False}}
    ) == describe_schedule(
        {
            **events,
            "__var": {
                "event_dates": ["2026-01-01T00:00:00+00:00"],
                "restrict_to_events": False,
                "description": "1 event",
            },
        }
    )
    # The one inside a schedule of datasets or time keeps its name.
    schedules = {
        describe_schedule(
            {
                "__type": "airflow.timetables.datasets.DatasetOrTimeSchedule",
                "__var": {"timetable": {**one, "__var": cron}, "dataset_condition": {"__type": "dataset_all", **old}},
            }
        )
        for one in (kind, {"__type": "airflow.timetables.interval.CronDataIntervalTimetable"})
    }
    assert len(schedules) == 2
