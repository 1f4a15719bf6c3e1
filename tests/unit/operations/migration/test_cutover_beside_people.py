"""The cut-over of Dags that somebody pauses, unpauses or triggers at the same time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airfleet.errors import AirfleetError
from airfleet.operations.migration.cutover import journal
from airfleet.operations.migration.cutover.journal import CutoverPhase
from airfleet.operations.migration.cutover.session import Cutover
from cutover_world import CutoverWorld


def test_a_run_that_begins_while_the_dag_is_paused_is_waited_for(world: CutoverWorld) -> None:
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


def test_a_move_that_was_killed_lets_no_dag_run_on_both_sides(world: CutoverWorld) -> None:
    # Killed before it was written down that the Dag runs here. Then somebody triggers a run in Airflow 2.
    world.open().move(["sales"])
    [moved] = journal.read(world.folder).values()
    journal.write(world.folder, {"sales": replace(moved, phase=CutoverPhase.STARTING)})
    world.old.active["sales"] = 1
    world.open().move(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (True, False)


def test_a_dag_that_somebody_unpauses_in_airflow_2_before_it_runs_here_stays_there(world: CutoverWorld) -> None:
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


def test_a_run_that_began_after_the_pause_ends_before_the_dag_is_moved(world: CutoverWorld) -> None:
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


def test_tied_dags_go_on_there_if_somebody_unpauses_one_of_them_there(tied: CutoverWorld) -> None:
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
def test_a_dag_that_somebody_unpaused_here_in_the_meantime_is_not_moved(
    world: CutoverWorld, phase: CutoverPhase
) -> None:
    journal.write(world.folder, {"sales": journal.DagRecord("sales", phase, was_paused=False)})
    world.new.paused["sales"] = False
    with pytest.raises(AirfleetError, match="unpaused sales here before it was moved"):
        world.open().move(["sales"])


@pytest.mark.parametrize("phase", [CutoverPhase.STARTING, CutoverPhase.MOVED])
def test_a_dag_that_runs_on_both_sides_is_named_and_can_be_brought_back(
    world: CutoverWorld, phase: CutoverPhase
) -> None:
    world.open().move(["sales"])
    [moved] = journal.read(world.folder).values()
    journal.write(world.folder, {"sales": replace(moved, phase=phase)})
    world.old.paused["sales"] = False
    with pytest.raises(AirfleetError, match="it runs there and here"):
        world.open().move(["sales"])
    assert not world.new.paused["sales"]
    world.open().bring_back(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (False, True)


def test_a_dag_that_somebody_unpauses_here_on_its_way_back_goes_on_here(world: CutoverWorld) -> None:
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


def test_a_dag_that_never_ran_here_does_not_begin_to_on_its_way_back(world: CutoverWorld) -> None:
    # Somebody triggered a run here to try the Dag; it waits, as the Dag is paused.
    world.old.active["sales"] = world.new.active["sales"] = 1
    with pytest.raises(AirfleetError, match="unfinished runs in old"):
        world.open().move(["sales"])
    world.open().bring_back(["sales"])
    assert (world.old.paused["sales"], world.new.paused["sales"]) == (False, True)
    assert journal.read(world.folder) == {}
