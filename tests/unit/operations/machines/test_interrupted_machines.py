"""Machines: what a killed command leaves behind, and what the next one does with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from airfleet.errors import AirfleetError
from airfleet.operations.machines import records, session
from airfleet.operations.machines.driver import Machine, UnsureError
from airfleet.operations.machines.rules import MachineAction
from airfleet.operations.machines.session import MachineSession
from killed_lines import KilledError, run_until
from machine_cloud import Cloud, describe, list_actions


@pytest.mark.parametrize("what", ["driver", "record"])
@pytest.mark.parametrize("number", range(1, 9))
def test_an_apply_that_was_killed_at_any_step_goes_on(
    start: Callable[[str], MachineSession], cloud: Cloud, monkeypatch: pytest.MonkeyPatch, what: str, number: int
) -> None:
    session = start(describe())
    if what == "driver":
        cloud.dies_at = number
    else:
        write, written = records.write, iter(range(1, 1000))

        def die(*words: object) -> None:
            if next(written) == number:
                raise KilledError
            write(*words)  # type: ignore[arg-type]

        monkeypatch.setattr(records, "write", die)
    try:
        session.apply()
    except KilledError:
        cloud.dies_at = None
        session.apply()
    assert sorted(one.name for one in cloud.list()) == ["worker1", "worker2"]
    assert {action for _, action in list_actions(session)} == {MachineAction.KEEP}


def test_a_command_that_was_killed_at_any_line_is_ended_by_the_next(
    start: Callable[[str], MachineSession], cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing cuts the power here, and a disk that others use makes a hundred commands wait for a minute.
    monkeypatch.setattr(os, "fsync", lambda _: None)

    def apply(count: int) -> None:
        start(describe(count)).apply()

    def destroy() -> None:
        start(describe(0)).destroy(tuple(records.read(start(describe(0)).state)))

    lines = run_until(lambda: apply(2), None, records, session)
    gone = run_until(destroy, None, records, session)
    assert (len(lines) > 20, len(gone) > 20) == (True, True)
    for line in lines:
        run_until(lambda: apply(2), line, records, session)
        apply(2)
        assert sorted(one.name for one in cloud.list()) == ["worker1", "worker2"]
        assert list_actions(start(describe())) == [("worker1", MachineAction.KEEP), ("worker2", MachineAction.KEEP)]
        destroy()
    for line in gone:
        apply(2)
        run_until(destroy, line, records, session)
        apply(0)
        destroy()
        assert cloud.list() == ()


@dataclass
class Clone:
    """A machine that a killed apply asked for, and that the cloud still makes. A second passes in each look."""

    cloud: Cloud
    session: MachineSession
    machine: Machine
    ready_at: float
    now: float = 0.0

    def sleep(self, _: float) -> None:
        self.now += 10.0
        # Others always ask for machines.
        self.cloud.unfinished = {f"other-{self.now}"}
        if self.now < self.ready_at:
            self.cloud.unfinished.add("own")
        else:
            self.cloud.machines[self.machine.id] = self.machine


@pytest.fixture
def clone(start: Callable[[str], MachineSession], cloud: Cloud) -> Clone:
    cloud.dies_at = 2
    with pytest.raises(KilledError):
        start(describe(1)).apply()
    cloud.dies_at = None
    [machine] = cloud.machines.values()
    cloud.machines.clear()
    cloud.unfinished = {"own"}
    made = Clone(cloud, start(describe(0)), machine, 0.0)
    made.session = replace(made.session, clock=lambda: made.now, sleep=made.sleep)
    return made


def test_a_machine_that_takes_minutes_to_make_is_destroyed_when_it_is_made(clone: Clone, cloud: Cloud) -> None:
    clone.ready_at = 900.0
    clone.session.destroy(("worker1",))
    assert cloud.machines == {}
    assert records.read(clone.session.state) == {}
    assert clone.now == 900.0


def test_a_machine_that_was_never_made_is_not_waited_for_with_those_of_others(clone: Clone, cloud: Cloud) -> None:
    cloud.unfinished = set()
    clone.ready_at = float("-inf")
    clone.machine = replace(clone.machine, key="other")
    clone.session.destroy(("worker1",))
    assert records.read(clone.session.state) == {}
    assert clone.now < 120.0


def test_a_machine_that_is_being_made_for_long_is_not_forgotten(clone: Clone, cloud: Cloud) -> None:
    clone.ready_at = float("inf")
    with pytest.raises(AirfleetError, match="still being made"):
        clone.session.destroy(("worker1",))
    assert list_actions(clone.session) == [("worker1", MachineAction.END)]
    clone.ready_at = 0.0
    clone.session.apply()
    assert (cloud.machines, records.read(clone.session.state)) == ({}, {})


def return_late(start: Callable[[str], MachineSession], cloud: Cloud, text: str) -> tuple[Machine, MachineSession]:
    """Return a machine that a killed apply asked for and that the list lacks, and a session in which it shows again."""
    cloud.dies_at = 2
    with pytest.raises(KilledError):
        start(describe(1)).apply()
    [late] = cloud.machines.values()
    cloud.machines.clear()
    ticks = iter(range(100))
    session = replace(
        start(text), clock=lambda: float(next(ticks)), sleep=lambda _: cloud.machines.update({late.id: late})
    )
    return late, session


def test_a_machine_that_shows_late_is_destroyed_after_an_apply_that_was_killed(
    start: Callable[[str], MachineSession], cloud: Cloud
) -> None:
    _, session = return_late(start, cloud, describe(0))
    session.destroy(("worker1",))
    assert (cloud.machines, session.plan()) == ({}, ())


@pytest.mark.parametrize("number", [1, 2])
def test_a_destruction_that_was_killed_goes_on(
    start: Callable[[str], MachineSession], cloud: Cloud, number: int
) -> None:
    start(describe()).apply()
    session = start(describe(count=1))
    cloud.dies_at = cloud.deeds + number
    with pytest.raises(KilledError):
        session.destroy(("worker2",))
    assert ("worker2", MachineAction.END) in list_actions(session)
    session.apply()
    assert [one.name for one in cloud.list()] == ["worker1"]
    assert list_actions(session) == [("worker1", MachineAction.KEEP)]


def test_a_request_that_is_taken_after_the_kill_makes_no_second_machine(
    start: Callable[[str], MachineSession], cloud: Cloud
) -> None:
    cloud.takes_late = True
    late, again = return_late(start, cloud, describe(1))
    again.apply()
    assert [one.id for one in cloud.list()] == [late.id]
    assert list_actions(again) == [("worker1", MachineAction.KEEP)]


@pytest.mark.parametrize(("error", "left"), [(AirfleetError, []), (UnsureError, ["worker1"])])
def test_only_a_request_that_may_have_been_taken_is_remembered(
    error: type[AirfleetError], left: list[str], start: Callable[[str], MachineSession], cloud: Cloud
) -> None:
    cloud.takes_late, cloud.refusal = True, error("no")
    one = start(describe(1))
    with pytest.raises(error):
        one.apply()
    assert list(records.read(one.state)) == left


def test_a_machine_that_is_there_is_not_forgotten_when_its_driver_refuses_something(
    start: Callable[[str], MachineSession], cloud: Cloud
) -> None:
    cloud.takes_late, cloud.dies_at = True, 2
    with pytest.raises(KilledError):
        start(describe(1)).apply()
    cloud.refusal = AirfleetError("too many requests")
    one = start(describe(1))
    with pytest.raises(AirfleetError, match="too many"):
        one.apply()
    assert list(records.read(one.state)) == ["worker1"]


def test_a_machine_that_is_missing_in_the_list_is_destroyed_and_not_forgotten(
    start: Callable[[str], MachineSession], cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = start(describe(1))
    one.apply()
    monkeypatch.setattr(cloud, "list", lambda: ())
    assert list_actions(one) == [("worker1", MachineAction.MISSING)]
    one.destroy(("worker1",))
    assert (cloud.machines, records.read(one.state)) == ({}, {})


def test_a_request_that_was_never_taken_is_made_again(start: Callable[[str], MachineSession], cloud: Cloud) -> None:
    cloud.takes_late = True
    cloud.dies_at = 1
    with pytest.raises(KilledError):
        start(describe(1)).apply()
    start(describe(1)).apply()
    assert len(cloud.list()) == 1
