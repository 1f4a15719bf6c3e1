"""Machines that come and go with the tasks: what a run does, and what a killed one leaves behind."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from airfleet.cli import scale_machines
from airfleet.errors import AirfleetError, SpecError, UsageError
from airfleet.operations.machines import look_at_log_agent, scaled_hosts, scaling, scaling_rules
from airfleet.operations.machines.driver import Machine
from airfleet.operations.machines.scaling import HostScaling
from airfleet.operations.machines.scaling_fleet import AppliedFleet
from airfleet.spec import load
from airfleet.spec.machines import MachineGroup
from airfleet.workspace import applied_hosts
from airfleet_provider.log_agent import exposition
from airfleet_provider.log_agent.agent import AgentTotals
from command_line import run
from killed_lines import run_until
from machine_program import PROGRAM
from scaled_estate import FLEET, Cloud, Estate, WatchedDriver, build, list_hosts, list_phases, read


@pytest.fixture
def estate(tmp_path: Path) -> Estate:
    project, state = tmp_path / "project", tmp_path / "state"
    (project / "dags").mkdir(parents=True)
    state.mkdir()
    (project / "fleet.yaml").write_text(FLEET)
    (project / "driver.py").write_text(PROGRAM)
    applied_hosts.write(state, read(project).hosts)
    return Estate(project, state)


@pytest.fixture
def driver() -> Cloud:
    return Cloud()


@pytest.fixture
def program(estate: Estate) -> WatchedDriver:
    """A driver with a real program, which starts for each request."""
    found = WatchedDriver((sys.executable, "driver.py"), fleet="project", project=estate.project)
    found.killed, found.estate = [], estate
    return found


@pytest.fixture
def scale(estate: Estate, driver: Cloud) -> HostScaling:
    return build(estate, driver)


def test_a_day_from_no_machine_to_two_and_back(estate: Estate, program: WatchedDriver) -> None:
    scale, driver = build(estate, program), program
    assert scale.run() == ()
    assert list_hosts(estate) == ["one", "two"]
    estate.needs = (3, 3)
    assert scale.run() == ()
    assert list_phases(estate) == {"worker1": "serving", "worker2": "serving"}
    assert list_hosts(estate) == ["one", "two", "worker1", "worker2"], "every command of the project sees them"
    assert [one.name for one in applied_hosts.read(estate.state)] == list_hosts(estate)
    estate.needs, estate.held = (1, 3), {"worker2": 2}
    scale.run()
    assert list_phases(estate) == {"worker1": "serving", "worker2": "serving"}, "they were needed a moment ago"
    estate.needs, estate.held = (1, 1), {"worker1": 3, "worker2": 1}
    scale.run()
    assert (list_phases(estate)["worker2"], estate.drained) == ("leaving", {"worker2"})
    scale.run()
    assert len(driver.list()) == 2, "it waits for the task"
    estate.held = {"worker1": 3}
    assert scale.run() == ()
    assert [one.name for one in driver.list()] == ["worker1"]
    assert driver.killed == []
    assert estate.forgotten == ["10.0.0.2"]
    assert list_hosts(estate) == ["one", "two", "worker1"]
    events = [(one.name, one.phase) for one in scaled_hosts.read(estate.state).events if one.name == "worker2"]
    assert [phase for _, phase in events] == ["making", "joining", "serving", "leaving", "ending", "ended"]


def test_a_machine_that_drains_serves_again_if_it_is_needed(scale: HostScaling, estate: Estate) -> None:
    estate.needs = (2, 2)
    scale.run()
    estate.needs, estate.held = (1, 1), {"worker1": 1}
    scale.run()
    assert estate.drained == {"worker1"}
    estate.needs = (2, 2)
    assert scale.run() == ()
    assert (list_phases(estate), estate.drained) == ({"worker1": "serving"}, set())


def test_what_fails_is_reported_and_the_next_run_goes_on(estate: Estate, program: WatchedDriver) -> None:
    scale, text = build(estate, program), estate.project / "driver.py"
    estate.needs = (2, 2)
    text.write_text("import sys; sys.exit('no quota')")
    [error] = scale.run()
    assert "no quota" in error.what
    assert (list_phases(estate), list_hosts(estate)) == ({"worker1": "making"}, ["one", "two"])
    text.write_text(PROGRAM)
    estate.is_broken = True
    assert len(scale.run()) == 1
    assert list_phases(estate) == {"worker1": "joining"}
    estate.is_broken = False
    estate.now += scaling_rules.FIRST_WAIT_S
    assert scale.run() == ()
    assert list_phases(estate) == {"worker1": "serving"}
    assert len(program.list()) == 1


def test_a_machine_waits_until_its_log_agent_has_sent_all_and_not_for_ever(
    scale: HostScaling, estate: Estate, driver: Cloud
) -> None:
    estate.needs = (3, 3)
    scale.run()
    estate.needs, estate.unsent = (1, 1), "120 bytes are left for the log store one"
    scale.run()
    assert list_phases(estate)["worker2"] == "leaving"
    assert "120 bytes are left" in scaled_hosts.read(estate.state).hosts["worker2"].reason
    # Tasks come back: it serves, and a later wait is a whole one.
    estate.needs = (3, 3)
    scale.run()
    estate.now, estate.needs = estate.now + scaling_rules.LOGS_S, (1, 1)
    scale.run()
    assert [one.name for one in driver.list()] == ["worker1", "worker2"]
    estate.unsent = ""
    scale.run()
    assert [one.name for one in driver.list()] == ["worker1"]
    estate.unsent = "the log store one last took lines 300 s ago"
    scale.run()
    assert list_phases(estate) == {"worker1": "leaving"}
    estate.now += scaling_rules.LOGS_S
    scale.run()
    assert driver.list() == ()
    assert "without its last logs" in scaled_hosts.read(estate.state).events[-1].reason


def test_a_look_at_the_log_agent_that_fails_keeps_no_machine_for_ever(
    scale: HostScaling, estate: Estate, driver: Cloud
) -> None:
    estate.needs = (2, 2)
    scale.run()
    estate.needs, estate.unsent = (1, 1), AirfleetError("the look did not end in time")
    assert scale.run() == ()
    assert "cannot be asked: the look did not" in scaled_hosts.read(estate.state).hosts["worker1"].reason
    estate.now += scaling_rules.LOGS_S
    assert scale.run() == ()
    assert driver.list() == ()


def test_a_clock_that_was_set_back_keeps_no_machine_for_longer_than_the_waits(
    scale: HostScaling, estate: Estate, driver: Cloud
) -> None:
    estate.needs, estate.silent = (2, 2), {"worker1"}
    scale.run()
    estate.now -= 86_400
    applies = estate.applies
    scale.run()
    assert estate.applies == applies + 1
    estate.silent = set()
    scale.run()
    estate.needs, estate.unsent = (1, 1), "120 bytes are left for the log store one"
    scale.run()
    estate.now -= 86_400
    scale.run()
    estate.now += scaling_rules.LOGS_S
    scale.run()
    assert driver.list() == ()


def test_a_host_that_does_not_join_is_applied_more_and_more_rarely_and_keeps_no_other_back(
    scale: HostScaling, estate: Estate
) -> None:
    estate.needs, estate.silent = (3, 3), {"worker1"}
    assert scale.run() == ()
    assert list_phases(estate) == {"worker1": "joining", "worker2": "serving"}
    waits: list[float] = []
    begun = estate.now
    while len(waits) < 8:
        applies = estate.applies
        scale.run()
        if estate.applies > applies:
            waits.append(estate.now - begun)
            begun = estate.now
        estate.now += 10.0
    assert waits == [30.0, 60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0]
    # Once its workers report, it serves without another apply.
    estate.silent, applies = set(), estate.applies
    scale.run()
    assert (list_phases(estate)["worker1"], estate.applies) == ("serving", applies)


def test_what_hosts_hold_is_read_once_for_all_that_join(scale: HostScaling, estate: Estate) -> None:
    estate.needs = (4, 4)
    scale.run()
    assert set(list_phases(estate).values()) == {"serving"}
    assert estate.looks == 2, "once to decide, once after the apply"


def test_a_log_agent_has_sent_all_after_two_turns_that_left_nothing() -> None:
    def show(age_s: float, waiting: int) -> str:
        return exposition.render([exposition.Progress("logs1", AgentTotals(waiting_bytes=waiting), 0, age_s)])

    ends: dict[str, list[float]] = {}
    assert "last took lines 40 s ago" in look_at_log_agent.find_rest(show(40.0, 0), 1.0, ends)
    # The first turn that ends may have begun before the last line was written.
    assert "last took lines" in look_at_log_agent.find_rest(show(0.2, 0), 2.0, ends)
    assert "last took lines" in look_at_log_agent.find_rest(show(0.7, 0), 2.5, ends)
    assert look_at_log_agent.find_rest(show(0.1, 7), 3.0, ends) == "7 bytes are left for the log store logs1"
    assert look_at_log_agent.find_rest(show(0.1, 0), 4.0, ends) == ""
    assert "says nothing" in look_at_log_agent.find_rest("", 5.0, ends)


@pytest.mark.parametrize("name", ["worker1", "other"])
def test_a_machine_that_fleet_yaml_has_as_a_host_does_not_come_and_go(
    scale: HostScaling, estate: Estate, driver: Cloud, name: str
) -> None:
    """It was made before its group had `min`, and its host was written into fleet.yaml, perhaps under another name."""
    [(_, address)] = scale.open_machines().make(("worker1",))
    text = FLEET + f"  {name}: {{address: {address}, pools: [default]}}\n"
    (estate.project / "fleet.yaml").write_text(text)
    estate.needs = (3, 3)
    assert scale.run() == ()
    assert list_phases(estate) == {"worker2": "serving"}, "two hosts of fleet.yaml, and one that comes"
    estate.needs = (1, 1)
    while list_phases(estate):
        assert scale.run() == ()
    assert [one.name for one in driver.list()] == ["worker1"]
    assert name not in estate.drained


class SlowCloud(Cloud):
    """A driver whose machines have an address once they are two."""

    def list(self) -> tuple[Machine, ...]:
        return tuple(replace(one, address=one.address if len(self.machines) > 1 else "") for one in super().list())

    def create(self, name: str, key: str, group: MachineGroup) -> Machine:
        if name == "worker2":
            raise AirfleetError("worker2 is somebody else's")
        return replace(super().create(name, key, group), address="")


def test_machines_start_side_by_side_and_one_that_fails_keeps_none_back(estate: Estate) -> None:
    ticks = itertools.count(step=100.0)
    scale = build(estate, SlowCloud(), clock=lambda: next(ticks))
    estate.needs = (4, 4)
    assert [one.what for one in scale.run()] == ["worker2 is somebody else's"]
    assert list_phases(estate) == {"worker1": "serving", "worker2": "making", "worker3": "serving"}


def test_a_person_ends_a_machine_that_is_dead(scale: HostScaling, estate: Estate, driver: Cloud) -> None:
    estate.needs = (2, 2)
    scale.run()
    with pytest.raises(UsageError, match="two is no machine that comes and goes"):
        scale.end(["worker1", "two"])
    assert list_phases(estate) == {"worker1": "serving"}
    estate.needs = (1, 1)
    scale.end(["worker1"])
    assert scale.run() == ()
    assert (list_phases(estate), driver.list(), estate.dead) == ({}, (), ["worker1"])


def test_a_machine_of_a_group_that_scales_no_more_can_be_ended(estate: Estate, program: WatchedDriver) -> None:
    estate.needs = (2, 2)
    build(estate, program).run()
    (estate.project / "fleet.yaml").write_text(FLEET.replace("min: 0, ", ""))
    opened = scale_machines._open(estate.project, estate.state)
    replace(opened, fleet=estate).end(["worker1"])
    assert replace(opened, fleet=estate).run() == ()
    assert (list_phases(estate), program.list(), list_hosts(estate)) == ({}, (), ["one", "two"])


def test_a_run_that_was_killed_at_any_line_is_ended_by_the_next(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing cuts the power here, and nobody reads the events of hundreds of runs.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(scaled_hosts, "KEPT", 10)
    modules, cloud = (scaling,), Cloud()
    scale = build(estate, cloud)

    def up() -> None:
        estate.needs = (2, 2)
        scale.run()

    def down() -> None:
        estate.needs = (1, 1)
        scale.run()

    made, gone = run_until(up, None, *modules), run_until(down, None, *modules)
    assert (len(made) > 20, len(gone) > 20) == (True, True)
    for line in made:
        run_until(up, line, *modules)
        up()
        assert list_phases(estate) == {"worker1": "serving"}
        assert [one.name for one in cloud.list()] == ["worker1"]
        assert list_hosts(estate) == ["one", "two", "worker1"]
        down()
    for line in gone:
        up()
        estate.held = {"worker1": 1}
        run_until(down, line, *modules)
        down()
        assert len(cloud.list()) == 1, "it still holds a task"
        estate.held = {}
        run_until(down, line, *modules)
        down()
        assert (list_phases(estate), cloud.list(), list_hosts(estate)) == ({}, (), ["one", "two"])


@pytest.mark.parametrize(
    ("group", "what"),
    [
        ("{image: i, count: 1, min: 2, pools: [default]}", "`min` is 2, and `count` is 1"),
        ("{image: i, min: 0}", "only a group of workers scales"),
        ("{image: i, min: 0, roles: [worker, web], pools: [default]}", "only a group of workers scales"),
    ],
)
def test_a_group_that_cannot_scale_is_refused(group: str, what: str) -> None:
    text = f"machines:\n  command: [d]\n  groups:\n    worker: {group}\n"
    with pytest.raises(SpecError, match=what):
        load.parse(text, file="fleet.yaml", default_name="f", cpus=2)


def test_two_groups_do_not_scale_for_one_pool() -> None:
    group = "{image: i, min: 0, pools: [default]}"
    text = f"machines:\n  command: [d]\n  groups:\n    big: {group}\n    small: {group}\n"
    with pytest.raises(SpecError, match="the groups big and small both scale for the pool default"):
        load.parse(text, file="fleet.yaml", default_name="f", cpus=2)


def test_apply_of_machines_makes_none_of_a_group_that_scales(scale: HostScaling, estate: Estate) -> None:
    assert scale.open_machines().apply() == ()
    estate.needs = (2, 2)
    scale.run()
    assert [(one.name, str(one.action)) for one in scale.open_machines().plan()] == [("worker1", "keep")]


def test_a_host_of_fleet_yaml_goes_before_a_machine_of_its_name(scale: HostScaling, estate: Estate) -> None:
    estate.needs = (2, 2)
    scale.run()
    (estate.project / "fleet.yaml").write_text(FLEET + "  worker1: {address: 10.1.0.9, pools: [default]}\n")
    addresses = {one.name: one.address for one in read(estate.project).hosts}
    assert addresses == {"one": "10.1.0.1", "two": "10.1.0.2", "worker1": "10.1.0.9"}
    estate.needs = (1, 1)
    assert scale.run() == ()
    assert (list_phases(estate), scale.open_machines().driver.list()) == ({}, ())
    assert estate.drained == set(), "the host of fleet.yaml is not drained"


def test_the_command_says_what_is_missing(estate: Estate) -> None:
    (estate.project / "fleet.yaml").write_text("name: small\n")
    done = run("scale", "machines", cwd=estate.project)
    assert (done.returncode, "fleet.yaml has no machines" in done.stderr) == (2, True)
    (estate.project / "fleet.yaml").write_text(FLEET.replace("min: 0, ", ""))
    done = run("scale", "machines", cwd=estate.project)
    assert (done.returncode, "no group of `machines` scales" in done.stderr) == (2, True)
    (estate.project / "fleet.yaml").write_text(FLEET)
    done = run("scale", "machines", "--end", "worker1", cwd=estate.project)
    assert (done.returncode, "there is none now" in done.stderr) == (2, True)
    done = run("machines", "plan", cwd=estate.project)
    assert (done.returncode, done.stdout, "airfleet scale machines" in done.stderr) == (0, "", True)
    done = run("scale", "machines", "--every", "soon", cwd=estate.project)
    assert (done.returncode, "is no duration" in done.stderr) == (2, True)


def test_the_key_of_a_destroyed_machine_is_forgotten_and_no_other(estate: Estate) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("no ssh-keygen here")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    (estate.project / "known").write_text(f"10.1.0.2 {key}\n10.1.0.20 {key}\n")
    (estate.project / "fleet.yaml").write_text(f"{FLEET}ssh: {{known_hosts: known}}\n")
    AppliedFleet(estate.project, estate.state).forget("10.1.0.2")
    assert (estate.project / "known").read_text() == f"10.1.0.20 {key}\n"
