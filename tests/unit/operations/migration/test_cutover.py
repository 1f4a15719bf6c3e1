"""The cut-over of Dags: what it refuses, what a killed command leaves, and that no run is doubled or skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.migration.cutover import journal, session
from airfleet.operations.migration.cutover.journal import CutoverPhase
from airfleet.operations.migration.cutover.platform import EndedRun
from airfleet.operations.migration.cutover.session import list_groups
from cutover_world import BEGIN, HOUR, CutoverWorld
from killed_lines import run_until


def test_a_dag_goes_and_comes_back_without_a_run_twice_or_missing(world: CutoverWorld) -> None:
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


def test_a_cut_over_that_was_killed_at_any_line_goes_on_or_goes_back(world: CutoverWorld) -> None:
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


def test_what_somebody_wrote_into_the_old_database_is_no_id_and_no_state_here(world: CutoverWorld) -> None:
    last = world.old.runs["sales"][-1]
    world.old.runs["sales"][-1] = replace(last, run_id="x/../../../etc", state="\x1b[2Jmine")
    with pytest.raises(AirfleetError, match=r"has the state \?\[2Jmine"):
        world.open().move(["sales"])
    assert (world.old.paused["sales"], world.new.runs["sales"]) == (False, [])
    world.old.runs["sales"][-1] = replace(world.old.runs["sales"][-1], state="failed")
    world.open().move(["sales"])
    [seeded] = world.new.runs["sales"]
    assert seeded.run_id == f"scheduled__{last.logical_date.isoformat()}__old"


def test_a_run_that_does_not_end_leaves_the_dag_where_it_is(world: CutoverWorld) -> None:
    world.old.active["sales"] = 1
    with pytest.raises(AirfleetError, match="unfinished runs in old"):
        world.open().move(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (False, True)
    world.old.active["sales"] = 0
    world.tick()
    world.open().move(["sales"])
    world.tick()
    world.check()


def test_a_dag_that_was_paused_stays_paused(world: CutoverWorld) -> None:
    world.old.paused["sales"] = True
    world.old.events["sales"] = 1
    world.open().move(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (True, True)
    world.open().bring_back(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (True, True)


def test_a_command_to_copy_holds_no_command_that_somebody_wrote_as_an_id(world: CutoverWorld) -> None:
    world.old.partners["sales"] = frozenset({"x; rm -rf ~"})
    with pytest.raises(UsageError) as found:
        world.open().move(["sales"])
    assert found.value.hint.endswith("airfleet migrate cutover sales 'x; rm -rf ~'")


def test_a_dag_is_refused_before_anything_is_done(world: CutoverWorld) -> None:
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


def test_a_dag_whose_runs_feed_others_is_paused_before_them_and_runs_here_after_them(tied: CutoverWorld) -> None:
    changes: list[str] = []
    tied.old.tell = tied.new.tell = changes.append
    tied.open().move(["report", "sales"])
    assert changes == ["old sales True", "old report True", "new report False", "new sales False"]
    changes.clear()
    tied.open().bring_back(["report", "sales"])
    assert changes == ["new sales True", "new report True", "old report False", "old sales False"]


def test_tied_dags_go_on_where_they_are_if_one_of_them_cannot_be_paused(tied: CutoverWorld) -> None:
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


def test_dags_that_need_each_other_are_one_group_in_the_order_of_their_names(tied: CutoverWorld) -> None:
    tied.old.needs["report"] = frozenset({"sales"})
    known = {dag: tied.old.read(dag) for dag in ("report", "sales")}
    assert list_groups({dag: one for dag, one in known.items() if one}) == [["report", "sales"]]


def test_the_record_says_how_far_a_dag_is(world: CutoverWorld) -> None:
    world.open().move(["sales"])
    [record] = journal.read(world.folder).values()
    assert (record.phase, record.last) == (CutoverPhase.MOVED, (BEGIN + 4 * HOUR).isoformat())
    (world.folder / journal.NAME).write_text("{")
    with pytest.raises(AirfleetError, match="cannot be read"):
        world.open().move(["sales"])
