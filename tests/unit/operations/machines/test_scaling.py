"""Machines that come and go with the tasks: what is decided, and what a killed run leaves behind."""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from airfleet.cli import scale_machines
from airfleet.errors import AirfleetError, SpecError, UsageError
from airfleet.operations.machines import look_at_log_agent, records, scaled_hosts, scaling, scaling_rules
from airfleet.operations.machines.command import CommandDriver
from airfleet.operations.machines.driver import Driver, Machine
from airfleet.operations.machines.scaling import HostScaling
from airfleet.operations.machines.scaling_fleet import AppliedFleet
from airfleet.operations.machines.scaling_rules import PoolNeed, ScaledHost, ScalePhase, WorkerLoad, decide
from airfleet.operations.machines.session import MachineSession
from airfleet.spec import load
from airfleet.spec.fleet import Fleet
from airfleet.spec.machines import GIB, MachineGroup
from airfleet.workspace import applied_hosts
from airfleet_provider.log_agent import exposition
from airfleet_provider.log_agent.agent import AgentTotals
from command_line import run
from killed_lines import run_until
from machine_program import PROGRAM

GROUP = MachineGroup("worker", 3, 2, GIB, GIB, "debian", pools=("default",), least=0, calm_s=900.0)
FLEET = """
machines:
  command: [python3, driver.py]
  groups:
    worker: {image: debian, count: 3, min: 0, pools: [default]}
pools: {default: {concurrency: 8, scale: {}}}
hosts:
  one: {address: 10.1.0.1, roles: [web, scheduler, database, broker]}
  two: {address: 10.1.0.2, pools: [default]}
"""
MAKING, JOINING, SERVING, LEAVING, ENDING = ScalePhase


def need(needed: int, most: int | None = None, own: int = 1) -> PoolNeed:
    return PoolNeed("default", needed, needed if most is None else most, own)


def hosts(**phases: ScalePhase) -> list[ScaledHost]:
    return [ScaledHost(name, "worker", phase, "", 0.0) for name, phase in phases.items()]


def changes(needs: PoolNeed, present: Sequence[ScaledHost], **held: int) -> list[tuple[str, ScalePhase]]:
    loads = {name: WorkerLoad(count, rank) for rank, (name, count) in enumerate(held.items())}
    return [(one.name, one.phase) for one in decide(GROUP, [needs], present, loads)]


def test_all_machines_that_tasks_need_are_made_at_once_and_no_more_than_count() -> None:
    assert changes(need(1), []) == []
    assert changes(need(3), []) == [("worker1", MAKING), ("worker2", MAKING)]
    assert changes(need(9), hosts(worker2=SERVING)) == [("worker1", MAKING), ("worker3", MAKING)]
    assert changes(need(9), hosts(worker1=MAKING, worker2=JOINING, worker3=SERVING)) == []


def test_one_that_leaves_comes_back_before_another_one_is_made() -> None:
    present = hosts(worker1=SERVING, worker2=LEAVING)
    assert changes(need(3), present, worker1=8, worker2=1) == [("worker2", JOINING)]
    assert changes(need(4), present) == [("worker2", JOINING), ("worker3", MAKING)]
    assert changes(need(4), hosts(worker1=SERVING, worker2=ENDING)) == [("worker3", MAKING)]


def test_the_emptiest_leaves_after_the_calm_and_the_next_one_when_it_has_gone() -> None:
    present = hosts(worker1=SERVING, worker2=SERVING, worker3=SERVING)
    assert changes(need(1, most=4), present, worker1=0, worker2=0, worker3=0) == []
    assert changes(need(1), present, worker1=4, worker2=0, worker3=0) == [("worker3", LEAVING)]
    assert changes(need(1), present, worker1=4, worker2=1, worker3=2) == [("worker2", LEAVING)]
    assert changes(need(1), hosts(worker1=SERVING, worker2=SERVING, worker3=LEAVING), worker1=0, worker2=0) == []


def test_a_host_whose_workers_do_not_report_is_not_chosen_and_one_that_is_not_made_goes_first() -> None:
    assert changes(need(1), hosts(worker1=SERVING, worker2=SERVING), worker1=5) == [("worker1", LEAVING)]
    assert changes(need(1), hosts(worker1=SERVING)) == []
    assert changes(need(1), hosts(worker1=SERVING, worker2=MAKING), worker1=0) == [("worker2", ENDING)]


def read(project: Path) -> Fleet:
    """Return the fleet of a project. Hundreds of runs of a test read the same files."""
    scaled = project / load.SCALED_FILE
    return _read(project, (project / "fleet.yaml").read_text(), scaled.read_text() if scaled.exists() else "")


@functools.cache
def _read(project: Path, *_: str) -> Fleet:
    return load.read(project, cpus=2)


@dataclass
class Estate:
    """A fleet in this process: `apply` installs what the files of the project say, on machines that are there."""

    project: Path
    state: Path
    needs: tuple[int, int] = (1, 1)
    held: dict[str, int] = field(default_factory=dict)
    drained: set[str] = field(default_factory=set)
    forgotten: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    is_broken: bool = False
    unsent: str | AirfleetError = ""
    silent: set[str] = field(default_factory=set)
    applies: int = 0
    looks: int = 0
    now: float = 1e9

    def find_needs(self, group: MachineGroup, scaled: Sequence[str]) -> tuple[PoolNeed, ...]:
        own = [one.name for one in read(self.project).hosts if one.pools and one.name not in scaled]
        return tuple(PoolNeed(pool, *self.needs, len(own)) for pool in group.pools)

    def list_loads(self) -> Mapping[str, WorkerLoad]:
        self.looks += 1
        known = {one.name for one in applied_hosts.read(self.state)} - self.silent
        made = [one.name for one in records.read(self.state).values() if one.name in known]
        return {name: WorkerLoad(self.held.get(name, 0), rank) for rank, name in enumerate(sorted(made))}

    def apply(self, dead: Sequence[str]) -> None:
        self.applies += 1
        if self.is_broken:
            raise AirfleetError("airfleet apply ended with 1")
        self.dead = [*self.dead, *dead]
        applied_hosts.write(self.state, read(self.project).hosts)

    def mark(self, host: str, *, drained: bool) -> None:
        self.drained = self.drained | {host} if drained else self.drained - {host}

    def is_at_rest(self, host: str) -> bool:
        return host in self.drained and not self.held.get(host)

    def find_unsent(self, host: str) -> str:
        if isinstance(self.unsent, AirfleetError):
            raise self.unsent
        return self.unsent

    def forget(self, address: str) -> None:
        self.forgotten.append(address)


class WatchedDriver(CommandDriver):
    """The driver `command` with a real program. It notes whose tasks a destruction would have killed."""

    killed: list[str]
    estate: Estate

    def destroy(self, machine: Machine) -> None:
        if self.estate.held.get(machine.name):
            self.killed.append(machine.name)
        super().destroy(machine)


class Cloud:
    """A driver in this process, for hundreds of runs."""

    takes_late = False

    def __init__(self) -> None:
        self.machines: dict[str, Machine] = {}

    def list(self) -> tuple[Machine, ...]:
        return tuple(self.machines.values())

    def list_unfinished(self) -> frozenset[str]:
        return frozenset()

    def create(self, name: str, key: str, group: MachineGroup) -> Machine:
        number = len(self.machines) + 1
        return self.machines.setdefault(key, Machine(f"vm-{number}", name, key, f"10.0.0.{number}"))

    def destroy(self, machine: Machine) -> None:
        self.machines.pop(machine.key, None)


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
def driver(estate: Estate) -> WatchedDriver:
    found = WatchedDriver((sys.executable, "driver.py"), fleet="project", project=estate.project)
    found.killed, found.estate = [], estate
    return found


@pytest.fixture
def scale(estate: Estate, driver: WatchedDriver) -> HostScaling:
    return build(estate, driver)


def build(estate: Estate, driver: Driver, clock: Callable[[], float] = lambda: 0.0) -> HostScaling:
    def open_machines() -> MachineSession:
        fleet = read(estate.project)
        assert fleet.machines
        return MachineSession(fleet, fleet.machines, estate.state, driver, clock, lambda _: None, lambda _: None)

    return HostScaling(estate.project, estate.state, open_machines, estate, lambda: estate.now, lambda _: None)


def list_phases(estate: Estate) -> dict[str, str]:
    return {one.name: str(one.phase) for one in scaled_hosts.read(estate.state).hosts.values()}


def list_hosts(estate: Estate) -> list[str]:
    return [one.name for one in read(estate.project).hosts]


def test_a_day_from_no_machine_to_two_and_back(scale: HostScaling, estate: Estate, driver: WatchedDriver) -> None:
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


def test_what_fails_is_reported_and_the_next_run_goes_on(
    scale: HostScaling, estate: Estate, driver: WatchedDriver
) -> None:
    program = estate.project / "driver.py"
    estate.needs = (2, 2)
    program.write_text("import sys; sys.exit('no quota')")
    [error] = scale.run()
    assert "no quota" in error.what
    assert (list_phases(estate), list_hosts(estate)) == ({"worker1": "making"}, ["one", "two"])
    program.write_text(PROGRAM)
    estate.is_broken = True
    assert len(scale.run()) == 1
    assert list_phases(estate) == {"worker1": "joining"}
    estate.is_broken = False
    estate.now += scaling_rules.FIRST_WAIT_S
    assert scale.run() == ()
    assert list_phases(estate) == {"worker1": "serving"}
    assert len(driver.list()) == 1


def test_a_machine_waits_until_its_log_agent_has_sent_all_and_not_for_ever(
    scale: HostScaling, estate: Estate, driver: WatchedDriver
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
    scale: HostScaling, estate: Estate, driver: WatchedDriver
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
    scale: HostScaling, estate: Estate, driver: WatchedDriver
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
    scale: HostScaling, estate: Estate, driver: WatchedDriver, name: str
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


def test_a_person_ends_a_machine_that_is_dead(scale: HostScaling, estate: Estate, driver: WatchedDriver) -> None:
    estate.needs = (2, 2)
    scale.run()
    with pytest.raises(UsageError, match="two is no machine that comes and goes"):
        scale.end(["worker1", "two"])
    assert list_phases(estate) == {"worker1": "serving"}
    estate.needs = (1, 1)
    scale.end(["worker1"])
    assert scale.run() == ()
    assert (list_phases(estate), driver.list(), estate.dead) == ({}, (), ["worker1"])


def test_a_machine_of_a_group_that_scales_no_more_can_be_ended(
    scale: HostScaling, estate: Estate, driver: WatchedDriver
) -> None:
    estate.needs = (2, 2)
    scale.run()
    (estate.project / "fleet.yaml").write_text(FLEET.replace("min: 0, ", ""))
    opened = scale_machines._open(estate.project, estate.state)
    replace(opened, fleet=estate).end(["worker1"])
    assert replace(opened, fleet=estate).run() == ()
    assert (list_phases(estate), driver.list(), list_hosts(estate)) == ({}, (), ["one", "two"])


def test_a_run_that_was_killed_at_any_line_is_ended_by_the_next(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing cuts the power here.
    monkeypatch.setattr(os, "fsync", lambda _: None)
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
