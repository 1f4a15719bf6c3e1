"""The contract of the drivers of machines, on what they talk to: a program, moto, a libvirt, an OpenStack, vcsim."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from keystoneauth1.session import Session
from pyVmomi import vim
from pyVmomi.SoapAdapter import SoapStubAdapter

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.machines import openstack, records, vsphere
from airfleet.operations.machines.driver import Machine, UnsureError
from airfleet.operations.machines.rules import MachineAction
from airfleet.operations.machines.session import MachineSession
from airfleet.spec import load
from airfleet.spec.machines import GIB, Machines, Openstack
from deadline import wait_until
from hypervisors import find_libvirt, run_hypervisor
from machine_makers import VCSIM, Aws, Maker, PlacedClient, Program, Vcenter, run_aws, run_vcenter
from openstack_maker import REGION, USER_DATA, Cloud, has_openstack, run_openstack

FLEET = "demo"
KEY, OTHER_KEY = "0123456789abcdef" * 2, "fedcba9876543210" * 2
KINDS = ("command", "ec2", "libvirt", "openstack", "vsphere")


class KilledError(BaseException):
    """The process was killed here."""


@pytest.fixture(scope="module")
def vcenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vcenter]:
    if not Path(VCSIM).exists():
        pytest.skip("no vcsim here: tools/vcsim makes it")
    with run_vcenter(tmp_path_factory.mktemp("vcenter")) as found:
        yield found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    if not has_openstack():
        pytest.skip("no OpenStack here: tools/openstack makes it")
    with run_openstack(tmp_path_factory.mktemp("openstack")) as found:
        yield found


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def maker(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    if kind == "command":
        yield Program(tmp_path)
    elif kind == "ec2":
        with run_aws() as aws:
            yield aws
    elif kind == "libvirt":
        if not find_libvirt():
            pytest.skip("no libvirt-python here: tools/libvirt installs it")
        with run_hypervisor() as hypervisor:
            yield hypervisor
    else:
        found: Maker = request.getfixturevalue("stack" if kind == "openstack" else "vcenter")
        yield found
        # One simulator serves all tests of the file: each leaves it was.
        for fleet in (FLEET, "other"):
            for one in found.open(fleet).list():
                found.open(fleet).destroy(one)


@pytest.fixture
def start(maker: Maker, tmp_path: Path) -> Callable[[int], MachineSession]:
    def build(count: int) -> MachineSession:
        fleet = load.parse("{}", file="fleet.yaml", default_name=FLEET, cpus=2)
        machines = Machines("command", (maker.group(count),))
        return MachineSession(
            fleet, machines, tmp_path / "state", maker.open(FLEET), lambda: 0.0, lambda _: maker.give_addresses(), print
        )

    return build


def list_actions(one: MachineSession) -> list[tuple[str, MachineAction]]:
    return [(step.name, step.action) for step in one.plan()]


def test_a_machine_is_made_once_and_only_its_fleet_sees_it(maker: Maker) -> None:
    driver = maker.open(FLEET)
    made = driver.create("web1", KEY, maker.group(1))
    assert (made.name, made.key) == ("web1", KEY)
    assert maker.open(FLEET).create("web1", KEY, maker.group(1)).id == made.id
    assert [one.id for one in driver.list()] == [made.id]
    assert maker.open("other").list() == ()
    assert maker.count() == 1


def test_only_a_machine_with_this_key_is_destroyed_and_one_that_is_gone_is_no_error(maker: Maker) -> None:
    driver = maker.open(FLEET)
    made = driver.create("web1", KEY, maker.group(1))
    for wrong in (Machine(made.id, made.name, OTHER_KEY, ""), Machine(made.id, made.name, "", "")):
        with pytest.raises(AirfleetError, match=r"tags|marks"):
            driver.destroy(wrong)
    with pytest.raises(AirfleetError, match=r"tags|marks"):
        maker.open("other").destroy(made)
    assert maker.count() == 1
    driver.destroy(made)
    driver.destroy(made)
    assert maker.count() == 0
    assert driver.list() == ()


def test_a_fleet_from_nothing_to_nothing(maker: Maker, start: Callable[[int], MachineSession]) -> None:
    both = start(2)
    both.apply()
    assert list_actions(both) == [("web1", MachineAction.KEEP), ("web2", MachineAction.KEEP)]
    assert maker.count() == 2
    assert len({one.address for one in records.read(both.state).values()} - {""}) == 2
    stray = maker.open(FLEET).create("web7", OTHER_KEY, maker.group(1))
    one = start(1)
    one.apply()
    assert list_actions(one) == [
        ("web1", MachineAction.KEEP),
        ("web2", MachineAction.SURPLUS),
        ("web7", MachineAction.ORPHAN),
    ]
    with pytest.raises(UsageError, match="did not make web7"):
        one.destroy(("web7",))
    one.destroy(("web2", "web1"))
    assert [one.id for one in maker.open(FLEET).list()] == [stray.id]


# What does more than read. A death between two reads is one after the last change.
CHANGES = re.compile(r"run_|create_|terminate_|delete_|POST|DELETE|.*_Task$")
LINES = {"ec2": (PlacedClient, "call"), "openstack": (Session, "request"), "vsphere": (SoapStubAdapter, "InvokeMethod")}


class Line:
    """The line to the cloud. A command dies before or after its n-th change, as a killed process does."""

    def __init__(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moments = 0
        self.dies_at = 0
        owner, name = LINES[kind]
        send = getattr(owner, name)

        def watched(*words: Any, **more: Any) -> Any:  # noqa: ANN401 - whatever the library hands on
            # boto3: client, name. keystoneauth: session, address, method of HTTP. pyvmomi: stub, object, method.
            said = words[2].wsdlName if kind == "vsphere" else words[2 if kind == "openstack" else 1]
            is_change = CHANGES.match(said) and "/auth/" not in str(words[1])
            self._pass(is_change)
            answer = send(*words, **more)
            self._pass(is_change)
            return answer

        monkeypatch.setattr(owner, name, watched)

    def _pass(self, is_change: object) -> None:
        self.moments += bool(is_change)
        if is_change and self.moments == self.dies_at:
            # What is done while the error goes up, such as a log-out, is not killed.
            self.dies_at = 0
            raise KilledError

    def count(self, deed: Callable[[], object], dies_at: int = 0) -> int:
        """Do something until it is killed, and return the number of moments that there were."""
        self.moments, self.dies_at = 0, dies_at
        with contextlib.suppress(KilledError):
            deed()
        self.dies_at = 0
        return self.moments


@pytest.mark.parametrize("kind", ["ec2", "openstack", "vsphere"])
def test_what_was_killed_at_any_change_is_ended_by_the_same_command(
    kind: str, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, group, driver = Line(kind, monkeypatch), maker.group(2), maker.open(FLEET)
    other = driver.create("web2", OTHER_KEY, group)
    made: list[Machine] = []

    def create() -> None:
        made.append(driver.create("web1", KEY, group))

    def destroy() -> None:
        driver.destroy(made[-1])

    creations, destructions = line.count(create), line.count(destroy)
    # The placement group of web2 is there already, so EC2 refuses to make it: that is half a moment.
    assert (creations, destructions) == {"ec2": (3, 2), "openstack": (2, 2), "vsphere": (8, 6)}[kind]
    for number in range(1, creations + 1):
        line.count(create, number)
        create()
        assert maker.count() == 2
        destroy()
    for number in range(1, destructions + 1):
        create()
        line.count(destroy, number)
        destroy()
        assert [one.id for one in driver.list()] == [other.id]


@pytest.mark.parametrize("kind", ["ec2"])
def test_instances_of_ec2_are_encrypted_apart_and_closed_to_forged_requests(kind: str, maker: Aws) -> None:
    driver = maker.open(FLEET)
    made = [driver.create(f"web{number}", key, maker.group(2)) for number, key in ((1, KEY), (2, OTHER_KEY))]
    [page] = maker.client.describe_instances(InstanceIds=[made[0].id])["Reservations"]
    [one] = page["Instances"]
    assert one["InstanceType"] == "c7i.xlarge"
    assert one["MetadataOptions"]["HttpTokens"] == "required"
    [disk] = maker.client.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [made[0].id]}])[
        "Volumes"
    ]
    assert (disk["Size"], disk["VolumeType"], disk["Encrypted"]) == (50, "gp3", True)
    [placement] = maker.client.describe_placement_groups(Filters=[])["PlacementGroups"]
    assert placement["Strategy"] == "spread"
    assert placement["GroupName"] == "airfleet-demo-web"
    driver.destroy(made[0])
    assert len(maker.client.describe_placement_groups(Filters=[])["PlacementGroups"]) == 1
    driver.destroy(made[1])
    assert maker.client.describe_placement_groups(Filters=[])["PlacementGroups"] == []


@pytest.mark.parametrize("kind", ["ec2"])
def test_an_instance_that_ended_and_lost_its_tags_is_gone(kind: str, maker: Aws) -> None:
    driver = maker.open(FLEET)
    made = driver.create("web1", KEY, maker.group(1))
    maker.client.terminate_instances(InstanceIds=[made.id])
    tags = maker.client.describe_instances(InstanceIds=[made.id])["Reservations"][0]["Instances"][0]["Tags"]
    maker.client.delete_tags(Resources=[made.id], Tags=[{"Key": one["Key"]} for one in tags])
    driver.destroy(made)


@pytest.mark.parametrize("kind", ["vsphere"])
def test_machines_of_vsphere_are_sized_marked_kept_apart_and_told_their_name(kind: str, maker: Vcenter) -> None:
    driver = maker.open(FLEET)
    made = [driver.create(f"web{number}", key, maker.group(2)) for number, key in ((1, KEY), (2, OTHER_KEY))]

    def rules() -> list[set[str]]:
        with driver._connected("look") as content:
            view = content.viewManager.CreateContainerView(content.rootFolder, [vim.ClusterComputeResource], True)
            return [{vm._moId for vm in rule.vm} for one in view.view for rule in one.configurationEx.rule]

    assert rules() == [{one.id for one in made}]
    with driver._connected("look") as content:
        vm = vim.VirtualMachine(made[0].id, content.rootFolder._stub)
        hardware = vm.config.hardware
        [disk] = [one for one in hardware.device if isinstance(one, vim.vm.device.VirtualDisk)]
        marks = {one.key for one in vm.config.extraConfig}
        assert (hardware.numCPU, hardware.memoryMB, disk.capacityInKB) == (4, 8192, 50 << 20)
        assert {"guestinfo.userdata", "guestinfo.metadata", "airfleet-key"} <= marks
        assert vm.runtime.powerState == "poweredOn"
    driver.destroy(made[0])
    assert rules() == []


@pytest.mark.parametrize("kind", ["vsphere"])
def test_a_copy_of_a_machine_is_an_orphan_and_is_never_destroyed(
    kind: str, maker: Vcenter, start: Callable[[int], MachineSession]
) -> None:
    start(1).apply()
    [made] = maker.open(FLEET).list()
    driver = maker.open(FLEET)
    with driver._connected("copy") as content:
        vm = vim.VirtualMachine(made.id, content.rootFolder._stub)
        marks = [one for one in vm.config.extraConfig if one.key.startswith("airfleet")]
        spec = vim.vm.CloneSpec(location=vim.vm.RelocateSpec(pool=vm.resourcePool), config=vim.vm.ConfigSpec())
        spec.config.extraConfig = marks
        spec.powerOn = spec.template = False
        driver._wait(vm.CloneVM_Task(folder=vm.parent, name="demo-copy", spec=spec))
    assert list_actions(start(1)) == [("web1", MachineAction.KEEP), ("copy", MachineAction.ORPHAN)]
    start(0).destroy(("web1",))
    [copy] = maker.open(FLEET).list()
    assert copy.key == ""
    with driver._connected("clean up") as content:
        driver._wait(vim.VirtualMachine(copy.id, content.rootFolder._stub).Destroy_Task())


@pytest.mark.parametrize("kind", ["vsphere"])
def test_a_wrong_login_is_told_and_a_stranger_with_the_name_stays(kind: str, maker: Vcenter) -> None:
    stranger = vsphere.VsphereDriver(
        maker.place, ("ops", "wrong"), fleet=FLEET, project=Path("/"), user_data=lambda _: "", sleep=lambda _: None
    )
    with pytest.raises(AirfleetError, match="refuses the login") as told:
        stranger.list()
    assert "wrong" not in str(told.value)
    maker.open(FLEET).create("web1", KEY, maker.group(1))
    with pytest.raises(AirfleetError, match="another machine demo-web1"):
        maker.open(FLEET).create("web1", OTHER_KEY, maker.group(1))
    assert maker.count() == 1


def test_a_clone_that_a_killed_apply_left_under_way_is_seen_until_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path(VCSIM).exists():
        pytest.skip("no vcsim here: tools/vcsim makes it")
    # The delay is in milliseconds. Without the second word, the simulator answers nobody meanwhile.
    with run_vcenter(tmp_path, "-method-delay", "CloneVm:5000,LockHandoff:0") as maker:
        driver = maker.open(FLEET)

        def die(_: object) -> None:
            raise KilledError

        with monkeypatch.context() as killed:
            killed.setattr(driver, "_wait", die)
            with pytest.raises(KilledError):
                driver.create("web1", KEY, maker.group(1))
        [task] = driver.list_unfinished()
        assert driver.list() == ()
        wait_until(lambda: task not in driver.list_unfinished(), "the end of the clone", timeout_s=120)
        assert [one.key for one in driver.list()] == [KEY]


@pytest.mark.parametrize("kind", ["openstack"])
def test_machines_of_openstack_are_apart_and_have_their_user_data(kind: str, maker: Cloud) -> None:
    driver = maker.open(FLEET)
    made = [driver.create(f"web{number}", key, maker.group(2)) for number, key in ((1, KEY), (2, OTHER_KEY))]
    wait_until(lambda: all(one.address for one in driver.list()), "the addresses")
    seen = {one.id: one for one in maker.admin.compute.servers(all_projects=True)}
    assert {seen[one.id].compute_host for one in made} == {"compute", "second"}
    assert seen[made[0].id].flavor.name == "m1.large"
    assert base64.b64decode(seen[made[0].id].user_data).decode() == USER_DATA

    def groups() -> list[tuple[str, str]]:
        return [(one.name, one.policy) for one in maker.admin.compute.server_groups(all_projects=True)]

    driver.destroy(made[0])
    assert groups() == [("airfleet-demo-web", "soft-anti-affinity")]
    driver.destroy(made[1])
    assert groups() == []


@pytest.mark.parametrize("kind", ["openstack"])
def test_openstack_says_what_is_wrong_with_a_login_a_right_or_a_name(
    kind: str, maker: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = maker.group(1)
    with pytest.raises(AirfleetError, match=r"401|password") as told:
        maker.open(FLEET, maker.connect("airfleet", "a wrong one")).list()
    assert "a wrong one" not in f"{told.value}"
    # A reader of the project may look, and no more.
    assert maker.open(FLEET, maker.connect("watcher")).list() == ()
    with pytest.raises(AirfleetError, match="role `member`"):
        maker.open(FLEET, maker.connect("watcher")).create("web1", KEY, group)
    for wrong, what in (
        ({"image": "debian-12"}, "no image debian-12"),
        ({"image": "twice"}, "several images twice"),
        ({"network": "lan"}, "no network lan"),
        ({"type": "m9.huge"}, "no flavor m9.huge"),
        ({"disk": 900 * GIB}, "no flavor has 4 CPUs, 8 GiB of memory and 900 GiB of disk"),
    ):
        with pytest.raises(AirfleetError, match=what):
            maker.open(FLEET).create("web1", KEY, replace(group, **wrong))
    assert maker.count() == 0
    # As a user has it: the login is in clouds.yaml, and fleet.yaml names the entry.
    login = maker.login("airfleet")
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"sales": {"auth": login, "region_name": REGION}}}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    opened = openstack.open_driver(Openstack("sales"), fleet=FLEET, user_data=lambda _: USER_DATA)
    assert opened.list() == ()
    with pytest.raises(AirfleetError, match="OpenStack failed to find a login: Cloud others was not found"):
        openstack.open_driver(Openstack("others"), fleet=FLEET, user_data=lambda _: USER_DATA)


@pytest.mark.parametrize("kind", ["openstack"])
def test_a_machine_of_a_killed_apply_that_openstack_does_not_start_is_not_forgotten(
    kind: str, maker: Cloud, start: Callable[[int], MachineSession]
) -> None:
    session = start(1)
    session.apply()
    # As if the apply had been killed before it wrote down the id of the machine.
    [record] = records.read(session.state).values()
    unfinished = replace(record, id="", address="", state=records.MachineState.CREATING)
    records.write(session.state, {record.name: unfinished})
    compute = maker.admin.compute
    compute.stop_server(record.id)
    wait_until(lambda: compute.get_server(record.id).status == "SHUTOFF", "the machine to stop")
    compute.lock_server(record.id)
    with pytest.raises(UnsureError, match="locked"):
        session.apply()
    assert records.read(session.state) == {record.name: unfinished}
    compute.unlock_server(record.id)
    session.apply()
    assert [one.id for one in records.read(session.state).values()] == [record.id]


@pytest.mark.parametrize("kind", ["openstack"])
def test_a_machine_that_no_computer_has_room_for_is_named_with_the_reason(
    kind: str, maker: Cloud, start: Callable[[int], MachineSession]
) -> None:
    maker.admin.compute.create_flavor(name="vast", vcpus=5000, ram=8192, disk=80)
    session = start(1)
    vast = replace(session, machines=Machines("command", (replace(maker.group(1), type="vast"),)))
    with pytest.raises(AirfleetError, match="Quota exceeded for cores"):
        vast.apply()
    # It was refused, so nobody has to look for it.
    assert records.read(session.state) == {}
    maker.admin.compute.update_quota_set(maker.admin.identity.find_project("sales"), cores=-1)
    with pytest.raises(AirfleetError, match=r"web1 .*No valid host"):
        vast.apply()
    assert [(step.action, "No valid host" in step.why) for step in vast.plan()] == [(MachineAction.RESUME, True)]
    vast.destroy(("web1",))
    assert maker.count() == 0
