"""Machines: what is decided, what a killed command leaves behind, and the contract with a real program."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from airfleet.errors import AirfleetError, SpecError, UsageError
from airfleet.operations.machines import drivers, records, session, user_data
from airfleet.operations.machines.command import CommandDriver
from airfleet.operations.machines.driver import Machine, UnsureError
from airfleet.operations.machines.rules import MachineAction
from airfleet.operations.machines.session import MachineSession
from airfleet.spec import load
from airfleet.spec.fleet import Fleet
from airfleet.spec.machines import GIB, MachineGroup, size_of_roles
from airfleet.spec.topology import ROLES, Ssh
from command_line import invoke
from killed_lines import KilledError, run_until
from machine_program import PROGRAM

GROUP = "{cpus: 2, memory: 4G, disk: 20G, image: debian-13"


class Cloud:
    """A driver in this process. It dies before or after its n-th deed, as a killed command does."""

    takes_late = False

    def __init__(self) -> None:
        self.takes_late = False
        self.refusal: AirfleetError | None = None
        self.machines: dict[str, Machine] = {}
        self.dies_at: int | None = None
        self.deeds = 0
        self.has_addresses = True
        self.unfinished: set[str] = set()

    def step(self) -> None:
        self.deeds += 1
        if self.deeds == self.dies_at:
            raise KilledError

    def list(self) -> tuple[Machine, ...]:
        return tuple(self.machines.values())

    def list_unfinished(self) -> frozenset[str]:
        return frozenset(self.unfinished)

    def create(self, name: str, key: str, group: MachineGroup) -> Machine:
        self.step()
        if self.refusal is not None:
            raise self.refusal
        found = next((one for one in self.machines.values() if one.key == key), None)
        if found is None:
            number = len(self.machines) + 1
            address = f"10.0.0.{number}" if self.has_addresses else ""
            found = self.machines[f"vm-{number}"] = Machine(f"vm-{number}", name, key, address)
        self.step()
        return found

    def destroy(self, machine: Machine) -> None:
        self.step()
        self.machines.pop(machine.id, None)
        self.step()


def parse(text: str) -> Fleet:
    return load.parse(text, file="fleet.yaml", default_name="demo", cpus=2)


def describe(count: int = 2, more: str = "") -> str:
    return (
        f"machines:\n  command: [./driver]\n  groups:\n    worker: {GROUP}, count: {count}, pools: [default]}}\n{more}"
    )


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def start(tmp_path: Path, cloud: Cloud) -> Callable[[str], MachineSession]:
    def build(text: str) -> MachineSession:
        fleet = parse(text)
        assert fleet.machines is not None
        ticks = iter(range(0, 10_000, 100))
        return MachineSession(
            fleet, fleet.machines, tmp_path, cloud, lambda: float(next(ticks)), lambda _: None, lambda _: None
        )

    return build


def list_actions(session: MachineSession) -> list[tuple[str, MachineAction]]:
    return [(step.name, step.action) for step in session.plan()]


def test_an_apply_makes_what_is_missing_and_the_plan_is_empty_after_it(start: Callable[[str], MachineSession]) -> None:
    session = start(describe())
    assert list_actions(session) == [("worker1", MachineAction.CREATE), ("worker2", MachineAction.CREATE)]
    session.apply()
    assert list_actions(session) == [("worker1", MachineAction.KEEP), ("worker2", MachineAction.KEEP)]


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


def test_a_machine_that_shows_late_is_destroyed_after_an_apply_that_was_killed(
    start: Callable[[str], MachineSession], cloud: Cloud
) -> None:
    cloud.dies_at = 2
    with pytest.raises(KilledError):
        start(describe(1)).apply()
    [late] = cloud.machines.values()
    cloud.machines.clear()
    ticks = iter(range(100))
    session = replace(
        start(describe(0)), clock=lambda: float(next(ticks)), sleep=lambda _: cloud.machines.update({late.id: late})
    )
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


def test_a_smaller_count_destroys_nothing(start: Callable[[str], MachineSession], cloud: Cloud) -> None:
    start(describe()).apply()
    session = start(describe(count=1))
    session.apply()
    assert len(cloud.list()) == 2
    assert ("worker2", MachineAction.SURPLUS) in list_actions(session)


def test_a_machine_that_airfleet_did_not_make_is_named_and_never_destroyed(
    start: Callable[[str], MachineSession], cloud: Cloud
) -> None:
    cloud.machines["vm-9"] = Machine("vm-9", "worker3", "someone-elses", "10.0.0.9")
    session = start(describe())
    session.apply()
    assert ("worker3", MachineAction.ORPHAN) in list_actions(session)
    with pytest.raises(UsageError, match="did not make worker3"):
        session.destroy(("worker1", "worker3"))
    assert len(cloud.list()) == 3


def test_a_machine_that_is_a_host_is_not_destroyed(start: Callable[[str], MachineSession], cloud: Cloud) -> None:
    start(describe()).apply()
    session = start(describe(more="hosts:\n  all: {address: 10.0.0.2}\n"))
    with pytest.raises(UsageError, match="worker2 is the host all"):
        session.destroy(("worker2",))
    assert len(cloud.list()) == 2


def test_a_machine_that_the_driver_does_not_see_is_not_made_twice(
    start: Callable[[str], MachineSession], cloud: Cloud
) -> None:
    session = start(describe(count=1))
    session.apply()
    hidden = cloud.machines.pop("vm-1")
    session.apply()
    assert cloud.list() == ()
    cloud.machines["vm-1"] = hidden
    assert list_actions(session) == [("worker1", MachineAction.KEEP)]


def test_a_machine_without_an_address_is_an_error_and_the_next_apply_waits_for_it(
    start: Callable[[str], MachineSession], cloud: Cloud
) -> None:
    session = start(describe(count=1))
    cloud.has_addresses = False
    with pytest.raises(AirfleetError, match="no address"):
        session.apply()
    [made] = cloud.list()
    cloud.machines[made.id] = Machine(made.id, made.name, made.key, "10.0.0.7")
    session.apply()
    assert list_actions(session) == [("worker1", MachineAction.KEEP)]


def test_machines_start_side_by_side_and_each_has_its_address_as_soon_as_it_is_known(
    start: Callable[[str], MachineSession], cloud: Cloud
) -> None:
    cloud.has_addresses = False
    pauses: list[float] = []
    told: list[str] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        assert len(cloud.machines) == 3, "one is waited for before the next is made"
        if len(pauses) > 8:
            made = next(one for one in cloud.machines.values() if not one.address)
            cloud.machines[made.id] = replace(made, address=f"10.0.0.{made.id[-1]}")

    session = replace(start(describe(count=3)), clock=lambda: 0.0, sleep=sleep, tell=told.append)
    session.apply()
    assert told == ["worker1: 10.0.0.1", "worker2: 10.0.0.2", "worker3: 10.0.0.3"]
    assert pauses == sorted(pauses)
    assert (pauses[0] < 1.0, pauses[-1]) == (True, 5.0)


def test_two_machines_with_one_key_stop_everything(start: Callable[[str], MachineSession], cloud: Cloud) -> None:
    start(describe(count=1)).apply()
    [made] = cloud.list()
    cloud.machines["vm-8"] = Machine("vm-8", "copy", made.key, "10.0.0.8")
    with pytest.raises(AirfleetError, match="vm-1 and vm-8 have the same tag"):
        start(describe(count=1)).destroy(("worker1",))
    assert len(cloud.list()) == 2


def test_a_group_without_sizes_has_those_of_its_roles() -> None:
    fleet = parse(
        "machines:\n  command: [d]\n  groups:\n    db: {image: i, count: 2, roles: [database, broker]}\n"
        "    worker: {image: i, pools: [default], memory: 64G}\n"
    )
    assert fleet.machines is not None
    db, worker = fleet.machines.groups
    assert (db.cpus, db.memory, db.disk, db.apart) == (8, 32 * GIB, 500 * GIB, True)
    assert (worker.cpus, worker.memory, worker.disk, worker.apart) == (16, 64 * GIB, 100 * GIB, False)


def test_a_program_gets_user_data_only_if_the_public_key_is_here(tmp_path: Path) -> None:
    code = "import json, sys; json.dump({'id': 'v', 'tags': json.load(sys.stdin)['machine']['tags']}, sys.stdout)"
    (tmp_path / "driver.py").write_text(f"{code}\n")
    fleet = parse(f"ssh: {{user: ops, key: missing}}\nmachines: {{command: ['{sys.executable}', driver.py]}}\n")
    assert fleet.machines is not None
    driver = drivers.open_driver(fleet.machines, fleet, tmp_path)
    assert driver.create("web1", "k", MachineGroup("web", 1, 1, GIB, GIB, "i")).key == "k"


def test_every_role_has_a_size() -> None:
    assert {size_of_roles([role]).cpus > 0 for role in ROLES} == {True}


def test_a_request_that_is_taken_after_the_kill_makes_no_second_machine(
    start: Callable[[str], MachineSession], cloud: Cloud
) -> None:
    cloud.takes_late = True
    cloud.dies_at = 2
    with pytest.raises(KilledError):
        start(describe(1)).apply()
    [late] = cloud.machines.values()
    cloud.machines.clear()
    ticks = iter(range(100))
    again = replace(
        start(describe(1)), clock=lambda: float(next(ticks)), sleep=lambda _: cloud.machines.update({late.id: late})
    )
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


def test_a_machine_that_will_never_run_is_named_with_the_reason_and_keeps_no_other_back(
    start: Callable[[str], MachineSession], cloud: Cloud
) -> None:
    cloud.has_addresses = False
    session = start(describe(2))

    def run_first(_: float) -> None:
        for one in cloud.list():
            said = {"address": "10.0.0.1"} if one.name == "worker1" else {"trouble": "no room"}
            cloud.machines[one.id] = replace(one, **said)

    session = replace(session, sleep=run_first)
    with pytest.raises(AirfleetError, match=r"worker2 \(vm-2\): no room"):
        session.apply()
    first, second = session.plan()
    assert (first.action, second.action) == (MachineAction.KEEP, MachineAction.RESUME)
    assert "never run: no room" in second.why


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{driver: command}", "needs `machines.command`"),
        ("{driver: vsphere}", "needs `machines.vsphere`"),
        ("{driver: ec2, command: [d]}", "belongs to another driver"),
        ("{driver: openstack, openstack: {cloud: c, password: p}}", "password"),
        ("{driver: vsphere, vsphere: {server: v, datacenter: d, cluster: c, password: p}}", "password"),
    ],
)
def test_a_driver_gets_its_own_settings_and_no_password(section: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        parse(f"machines: {section}\n")


@pytest.mark.parametrize("user", [None, "root", "ops"])
def test_user_data_lets_the_public_key_in_and_holds_no_private_one(tmp_path: Path, user: str | None) -> None:
    (tmp_path / "key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n")
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAA ops@control\n")
    text = user_data.write("web1", Ssh(user=user, key="key"), tmp_path)
    said = yaml.safe_load(text)
    logins = said if user is None else said["users"][-1]
    assert text.startswith("#cloud-config\n")
    assert said["hostname"] == "web1"
    assert logins["ssh_authorized_keys"] == ["ssh-ed25519 AAAA ops@control"]
    assert "secret" not in text
    (tmp_path / "key.pub").write_text((tmp_path / "key").read_text())
    with pytest.raises(AirfleetError, match="no public key"):
        user_data.write("web1", Ssh(user=user, key="key"), tmp_path)


def test_two_groups_may_not_make_one_name() -> None:
    with pytest.raises(SpecError, match="worker11"):
        parse(f"machines:\n  command: [d]\n  groups:\n    worker: {GROUP}, count: 11}}\n    worker1: {GROUP}}}\n")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dags").mkdir()
    (tmp_path / "driver.py").write_text(PROGRAM)
    text = describe().replace("[./driver]", f"[{sys.executable}, driver.py]")
    (tmp_path / "fleet.yaml").write_text(f"name: demo\n{text}")
    return tmp_path


def test_the_commands_make_list_and_destroy_with_a_real_program(project: Path) -> None:
    def run(*argv: str) -> str:
        return invoke("machines", *argv, catch_exceptions=False).stdout

    assert [one["action"] for one in json.loads(run("plan", str(project), "--json"))] == ["create", "create"]
    assert run("apply", str(project), "--yes").splitlines() == [
        "keep     worker1: 10.0.0.1",
        "keep     worker2: 10.0.0.2",
    ]
    assert yaml.safe_load(run("hosts", str(project)))["hosts"] == {
        "worker1": {"address": "10.0.0.1", "pools": ["default"]},
        "worker2": {"address": "10.0.0.2", "pools": ["default"]},
    }
    run("destroy", "worker2", "--project", str(project), "--yes")
    assert [one["name"] for one in json.loads(run("list", str(project), "--json"))] == ["worker1"]
    assert [one["name"] for one in json.loads((project / "cloud.json").read_text())] == ["worker1"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; print('quota exceeded', file=sys.stderr); sys.exit(3)", "exit code 3: quota exceeded"),
        ("print('hello')", "not JSON"),
        ("print('[]')", "not a JSON object"),
        ("print('{}')", "machines"),
    ],
)
def test_a_driver_that_fails_is_told_with_its_reason(tmp_path: Path, code: str, words: str) -> None:
    driver = CommandDriver((sys.executable, "-c", code), fleet="demo", project=tmp_path)
    with pytest.raises(AirfleetError, match=words):
        driver.list()


def test_a_driver_that_does_not_end_is_told(tmp_path: Path) -> None:
    driver = CommandDriver(("sleep", "600"), fleet="demo", project=tmp_path, timeout_s=0.5)
    with pytest.raises(AirfleetError, match="did not end"):
        driver.list()


def test_a_key_counts_only_with_the_tag_of_this_fleet(tmp_path: Path) -> None:
    code = """print('{"machines": [{"id": "vm-1", "tags": {"airfleet-fleet": "other", "airfleet-key": "k"}}]}')"""
    driver = CommandDriver((sys.executable, "-c", code), fleet="demo", project=tmp_path)
    assert driver.list() == (Machine("vm-1", "", "", ""),)
