"""Machines: what is decided, what a killed command leaves behind, and the contract with a real program."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from airfleet.errors import AirfleetError, SpecError, UsageError
from airfleet.operations.machines import drivers, user_data
from airfleet.operations.machines.command import CommandDriver
from airfleet.operations.machines.driver import Machine
from airfleet.operations.machines.rules import MachineAction
from airfleet.operations.machines.session import MachineSession
from airfleet.spec.machines import GIB, MachineGroup, size_of_roles
from airfleet.spec.topology import ROLES, Ssh
from command_line import invoke
from machine_cloud import GROUP, Cloud, describe, list_actions, parse
from machine_program import PROGRAM


def test_an_apply_makes_what_is_missing_and_the_plan_is_empty_after_it(start: Callable[[str], MachineSession]) -> None:
    session = start(describe())
    assert list_actions(session) == [("worker1", MachineAction.CREATE), ("worker2", MachineAction.CREATE)]
    session.apply()
    assert list_actions(session) == [("worker1", MachineAction.KEEP), ("worker2", MachineAction.KEEP)]


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
