"""What airfleet hands to Terraform, and what it reads from an Ansible inventory."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations import machines as drivers_of_machines
from airfleet.operations.machines import drivers, inventory, terraform
from airfleet.operations.machines.ec2_types import choose_type
from airfleet.operations.machines.openstack_flavors import Flavor, choose_flavor
from airfleet.spec import load
from airfleet.spec.machines import GIB, Ec2, MachineGroup, Machines, Openstack, Vsphere
from command_line import invoke

GROUPS = """\
  groups:
    web: {image: 'deb${ian}', count: 2, network: lan, roles: [web, balancer]TYPE}
    worker: {image: ami-1, pools: [default]TYPE}
"""
VSPHERE = "{server: v.example.com, datacenter: DC1, cluster: C1, datastore: ssd, folder: a/b}"
INI = """\
# a comment
bastion

[airflow_web]
web[01:02].example.com ansible_user=ops password='hunter2 #x'

[schedulers]
sched1 ansible_host=10.0.0.5 # a comment

[etl]
w1 ansible_host=10.0.0.7 ansible_port=2222

[cluster:children]
airflow_web
etl

[cluster:vars]
ansible_user=deploy
"""
YAML = """\
all:
  children:
    workers:
      vars: {ansible_user: deploy, api_token: hunter2}
      hosts:
        w1: {ansible_host: 10.0.0.7, ansible_password: !vault "$ANSIBLE_VAULT;1.1;AES256 66"}
        w2:
"""
LISTED = {
    "_meta": {"hostvars": {"w1": {"ansible_host": "10.0.0.7", "token": "hunter2"}}},
    "all": {"children": ["worker"]},
    "worker": {"hosts": ["w1"]},
}


def build(driver: str) -> Any:  # noqa: ANN401 - JSON
    # Which flavors an OpenStack has is not known here.
    groups = GROUPS.replace("TYPE", ", type: m1.large" if "openstack" in driver else "")
    fleet = load.parse(f"machines:\n  {driver}\n{groups}", file="fleet.yaml", default_name="demo", cpus=2)
    assert fleet.machines is not None
    text = terraform.write(fleet.machines, fleet="demo", user_data=lambda name: f"#cloud-config\nhostname: ${{{name}}}")
    return json.loads(text)


def list_references(value: object) -> set[str]:
    """Return the first three parts of every reference to a block of the configuration."""
    if isinstance(value, dict):
        return {one for inner in value.values() for one in list_references(inner)}
    if isinstance(value, list):
        return {one for inner in value for one in list_references(inner)}
    if isinstance(value, str) and value.startswith("${"):
        parts = value.strip("${}").split(".")
        return {".".join(parts[:3] if parts[0] == "data" else parts[:2])}
    return set()


@pytest.mark.parametrize("driver", [f"vsphere: {VSPHERE}\n  driver: vsphere", "driver: ec2", "driver: openstack"])
def test_every_reference_of_a_terraform_file_leads_to_a_block_of_it(driver: str) -> None:
    body = build(driver)
    blocks = {f"{kind}.{name}" for kind, named in body["resource"].items() for name in named}
    blocks |= {f"data.{kind}.{name}" for kind, named in body["data"].items() for name in named}
    assert list_references(body) <= blocks


def test_terraform_makes_the_same_machines_for_vsphere() -> None:
    body = build(f"vsphere: {VSPHERE}\n  driver: vsphere")
    made = body["resource"]["vsphere_virtual_machine"]
    assert {name: (one["num_cpus"], one["memory"], one["disk"][0]["size"]) for name, one in made.items()} == {
        "web1": (4, 8192, 50),
        "web2": (4, 8192, 50),
        "worker1": (16, 32768, 100),
    }
    assert base64.b64decode(made["web1"]["extra_config"]["guestinfo.userdata"]).startswith(b"#cloud-config")
    assert body["data"]["vsphere_virtual_machine"]["web"]["name"] == "deb$${ian}"
    assert list(body["resource"]["vsphere_compute_cluster_vm_anti_affinity_rule"]) == ["web"]


def test_terraform_makes_the_same_machines_for_ec2_and_says_the_hosts() -> None:
    body = build("driver: ec2")
    made = body["resource"]["aws_instance"]
    assert made["web1"]["instance_type"] == "c7i.xlarge"
    assert made["web1"]["user_data"] == "#cloud-config\nhostname: $${web1}"
    assert made["worker1"]["ami"] == "ami-1"
    assert body["output"]["hosts"]["value"]["web2"] == {
        "address": "${aws_instance.web2.private_ip}",
        "roles": ["web", "balancer"],
    }


def test_terraform_makes_the_same_machines_for_openstack() -> None:
    body = build("openstack: {cloud: sales, security_groups: [airflow]}\n  driver: openstack")
    made = body["resource"]["openstack_compute_instance_v2"]
    assert list(made) == ["web1", "web2", "worker1"]
    assert (made["web1"]["flavor_name"], made["web1"]["security_groups"]) == ("m1.large", ["airflow"])
    assert made["web1"]["scheduler_hints"] == [{"group": "${openstack_compute_servergroup_v2.web.id}"}]
    assert body["data"]["openstack_images_image_v2"]["web"]["name"] == "deb$${ian}"
    assert body["provider"]["openstack"] == {"cloud": "sales"}
    named = "155d900f-4e14-4e4c-a73d-069cbf4541e6"
    group = MachineGroup("a", 1, 4, GIB, GIB, named, network=named, type="m1.large")
    body = json.loads(
        terraform.write(Machines("openstack", (group,), openstack=Openstack()), fleet="demo", user_data=lambda _: "")
    )
    made = body["resource"]["openstack_compute_instance_v2"]["a1"]
    assert (made["image_id"], made["network"], body["data"]) == (named, [{"uuid": named}], {})
    with pytest.raises(UsageError, match="needs `type`"):
        terraform.write(
            Machines("openstack", (MachineGroup("a", 1, 4, GIB, GIB, "i"),), openstack=Openstack()),
            fleet="demo",
            user_data=lambda _: "",
        )


def test_terraform_evaluates_no_text_of_fleet_yaml() -> None:
    """What a user writes is data: an expression there could read files and run programs of the control machine."""
    evil = "${file('/etc/passwd')}%{for x in y}"
    group = MachineGroup("web", 2, 4, GIB, GIB, f"ami-{evil}", network=evil, storage=evil, type=evil, apart=True)
    texts = [
        terraform.write(machines, fleet=f"demo{evil}", user_data=lambda _: evil)
        for machines in (
            Machines("ec2", (group,), ec2=Ec2(region=evil, profile=evil, security_groups=(evil,))),
            Machines("openstack", (group,), openstack=Openstack(evil, evil, evil, (evil,))),
            Machines(
                "vsphere",
                (group,),
                vsphere=Vsphere(server=evil, port=443, datacenter=evil, cluster=evil, datastore=evil, folder=evil),
            ),
        )
    ]
    for text in texts:
        assert evil not in text
        assert text.count("file('/etc/passwd')") == text.count("$${file('/etc/passwd')}%%{for x in y}")
        assert text.count("$${file(") > 5
        json.loads(text)


def test_terraform_does_not_know_a_program() -> None:
    with pytest.raises(UsageError, match="no Terraform for the driver command"):
        build("command: [d]")


@pytest.mark.parametrize(
    ("cpus", "memory", "chosen"),
    [
        (4, 8, "c7i.xlarge"),
        (8, 16, "c7i.2xlarge"),
        (16, 32, "c7i.4xlarge"),
        (8, 32, "m7i.2xlarge"),
        (4, 20, "r7i.xlarge"),
    ],
)
def test_the_smallest_type_of_instance_is_chosen(cpus: int, memory: int, chosen: str) -> None:
    group = MachineGroup("a", 1, cpus, memory * GIB, GIB, "i")
    assert choose_type(group, "7i") == chosen
    with pytest.raises(AirfleetError, match="no type"):
        choose_type(MachineGroup("a", 1, 500, GIB, GIB, "i"), "7i")


def test_the_smallest_flavor_is_chosen_and_none_with_special_hardware() -> None:
    there = [
        Flavor("1", "small", 2, 4 * GIB, 80 * GIB),
        Flavor("2", "gpu", 4, 8 * GIB, 80 * GIB, frozenset({"pci_passthrough:alias"})),
        Flavor("3", "wide", 4, 16 * GIB, 80 * GIB),
        Flavor("4", "plain", 4, 8 * GIB, 20 * GIB),
        Flavor("5", "image-sized", 4, 8 * GIB, 0),
    ]
    group = MachineGroup("a", 1, 4, 8 * GIB, 50 * GIB, "i")
    assert choose_flavor(group, there).name == "wide"
    # With `storage` the disk is a volume.
    assert choose_flavor(replace(group, storage="ssd"), there).name == "image-sized"
    assert choose_flavor(replace(group, type="gpu"), there).id == "2"
    assert choose_flavor(replace(group, type="4"), there).name == "plain"
    for wrong, what in (({"cpus": 8}, "no flavor has 8 CPUs"), ({"type": "huge"}, "no flavor huge")):
        with pytest.raises(AirfleetError, match=what):
            choose_flavor(replace(group, **wrong), there)


def test_an_inventory_as_ini_becomes_hosts() -> None:
    mapping = inventory.read_mapping(["airflow_web=web,balancer", "etl=worker,pool:default"])
    hosts, left = inventory.read_hosts(INI, mapping)
    assert hosts == {
        "web01": {"address": "web01.example.com", "roles": ["web", "balancer"], "user": "ops"},
        "web02": {"address": "web02.example.com", "roles": ["web", "balancer"], "user": "ops"},
        "sched1": {"address": "10.0.0.5", "roles": ["scheduler"]},
        "w1": {"address": "10.0.0.7", "roles": ["worker"], "pools": ["default"], "user": "deploy", "port": 2222},
    }
    assert left == ("bastion",)
    assert "hunter2" not in str(hosts)


@pytest.mark.parametrize("text", [YAML, json.dumps(LISTED)])
def test_an_inventory_as_yaml_or_as_ansible_lists_it_becomes_hosts(text: str) -> None:
    hosts, left = inventory.read_hosts(text, {})
    assert (hosts["w1"]["address"], hosts["w1"]["roles"], left) == ("10.0.0.7", ["worker"], ())
    assert "hunter2" not in str(hosts)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[workers]\nw1 ansible_host={{ vault_address }}", "template"),
        ("[workers]\nw1 ansible_host='a", "quotation"),
        ("[a]\nw.x\n[a:vars]\nansible_user=u\n[b]\nw.x\n[b:vars]\nansible_user=v", "different things"),
        ("", "no Ansible inventory"),
    ],
)
def test_what_only_ansible_can_read_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        inventory.read_hosts(text, {"a": ("worker",), "b": ("web",)})


def test_a_mapping_names_roles() -> None:
    with pytest.raises(UsageError, match="etl=wroker"):
        inventory.read_mapping(["etl=wroker"])


def test_the_commands_write_what_they_print(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAA ops\n")
    (tmp_path / "fleet.yaml").write_text(
        f"ssh: {{user: ops, key: key}}\nmachines:\n  driver: ec2\n{GROUPS.replace('TYPE', '')}"
    )
    (tmp_path / "hosts").write_text(INI)

    def run(*argv: str) -> str:
        return invoke("machines", *argv, catch_exceptions=False).stdout

    run("export", "terraform", str(tmp_path), "--output", str(tmp_path / "tf"))
    assert "aws_instance" in json.loads((tmp_path / "tf" / "main.tf.json").read_text())["resource"]
    assert "ssh-ed25519 AAAA ops" in run("user-data", "web1", "--project", str(tmp_path))
    assert list(yaml.safe_load(run("inventory", str(tmp_path / "hosts")))["hosts"]) == ["sched1"]


def test_a_driver_without_its_package_names_the_extra_by_the_file_of_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(drivers_of_machines, "openstack", raising=False)
    monkeypatch.delitem(sys.modules, f"{drivers_of_machines.__name__}.openstack", raising=False)
    monkeypatch.setitem(sys.modules, "openstack", None)
    text = "hosts: {a: {address: 10.0.0.1, roles: [web, scheduler, worker, database, broker]}}\n"
    text += "machines: {driver: openstack, openstack: {cloud: sales}, groups: {web: {count: 1, image: i}}}\n"
    fleet = load.parse(text, file="fleet.yaml", default_name="sales", cpus=2)
    assert fleet.machines
    with pytest.raises(AirfleetError, match="needs the package openstack") as refused:
        drivers.open_driver(fleet.machines, fleet, tmp_path)
    assert "whl[openstack]" in (refused.value.hint or "")
    # No version is published: an index has nothing, or somebody else's package, under this name.
    assert "install airfleet" not in (refused.value.hint or "")
