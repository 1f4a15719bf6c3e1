"""The machines of fleet.yaml as a configuration of Terraform, for teams whose machines Terraform makes.

It is written in Terraform's JSON syntax: https://developer.hashicorp.com/terraform/language/syntax/json
"""

from __future__ import annotations

import base64
import json

from airfleet.errors import UsageError
from airfleet.operations.machines import terraform_openstack
from airfleet.operations.machines.driver import UserData
from airfleet.operations.machines.ec2_types import choose_type
from airfleet.operations.machines.hcl import quote
from airfleet.operations.machines.terraform_blocks import Block, drop_empty, list_hosts, refer
from airfleet.spec.machines import GIB, Ec2, MachineGroup, Machines, Vsphere


def write(machines: Machines, *, fleet: str, user_data: UserData) -> str:
    """Return the text of `main.tf.json`. Its output `hosts` is the section `hosts` of fleet.yaml.

    Raises:
        UsageError: The machines are made by another driver.
    """
    if machines.vsphere is not None:
        body = _write_vsphere(machines.vsphere, machines.groups, fleet, user_data)
    elif machines.ec2 is not None:
        body = _write_ec2(machines.ec2, machines.groups, fleet, user_data)
    elif machines.openstack is not None:
        body = terraform_openstack.write(machines.openstack, machines.groups, fleet, user_data)
    else:
        hint = "write `driver: vsphere`, `driver: ec2` or `driver: openstack`"
        raise UsageError(
            f"airfleet writes no Terraform for the driver {machines.driver}", where="machines.driver", hint=hint
        )
    return json.dumps(quote(body), indent=2) + "\n"


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _write_ec2(place: Ec2, groups: tuple[MachineGroup, ...], fleet: str, user_data: UserData) -> Block:
    instances: Block = {}
    images: Block = {}
    placements: Block = {}
    for group in groups:
        image = group.image
        if not image.startswith("ami-"):
            named = {"name": "name", "values": [image]}
            images[group.name] = {"owners": ["self"], "most_recent": True, "filter": [named]}
            image = refer(f"data.aws_ami.{group.name}.id")
        if group.apart:
            placements[group.name] = {"name": f"{fleet}-{group.name}", "strategy": "spread"}
        for name in group.names:
            disk = {"volume_size": -(-group.disk // GIB), "volume_type": group.storage or "gp3", "encrypted": True}
            one: Block = {
                "ami": image,
                "instance_type": choose_type(group, place.generation),
                "user_data": user_data(name),
                "root_block_device": disk,
                "metadata_options": {"http_tokens": "required", "http_put_response_hop_limit": 1},
                "tags": {"Name": f"{fleet}-{name}"},
            }
            if group.network:
                one["subnet_id"] = group.network
            if place.security_groups:
                one["vpc_security_group_ids"] = list(place.security_groups)
            if group.apart:
                one["placement_group"] = refer(f"aws_placement_group.{group.name}.name")
            instances[name] = one
    provider = {key: value for key, value in (("region", place.region), ("profile", place.profile)) if value}
    return drop_empty(
        {
            "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws"}}},
            "provider": {"aws": provider},
            "data": drop_empty({"aws_ami": images}),
            "resource": drop_empty({"aws_placement_group": placements, "aws_instance": instances}),
            "output": list_hosts(groups, lambda name: refer(f"aws_instance.{name}.private_ip")),
        }
    )


def _write_vsphere(place: Vsphere, groups: tuple[MachineGroup, ...], fleet: str, user_data: UserData) -> Block:
    datacenter = {"datacenter_id": refer("data.vsphere_datacenter.all.id")}
    stores: Block = {}
    networks: Block = {}
    templates: Block = {}
    machines: Block = {}
    rules: Block = {}
    for group in groups:
        template = f"data.vsphere_virtual_machine.{group.name}"
        templates[group.name] = {"name": group.image, **datacenter}
        store = refer(f"{template}.datastore_id")
        if wanted := group.storage or place.datastore:
            stores[group.name] = {"name": wanted, **datacenter}
            store = refer(f"data.vsphere_datastore.{group.name}.id")
        network = refer(f"{template}.network_interfaces[0].network_id")
        if group.network:
            networks[group.name] = {"name": group.network, **datacenter}
            network = refer(f"data.vsphere_network.{group.name}.id")
        for name in group.names:
            machines[name] = {
                "name": f"{fleet}-{name}",
                "resource_pool_id": refer("data.vsphere_compute_cluster.all.resource_pool_id"),
                "datastore_id": store,
                **({"folder": place.folder} if place.folder else {}),
                "num_cpus": group.cpus,
                "memory": group.memory >> 20,
                "guest_id": refer(f"{template}.guest_id"),
                "firmware": refer(f"{template}.firmware"),
                "scsi_type": refer(f"{template}.scsi_type"),
                "network_interface": [{"network_id": network}],
                "disk": [{"label": "disk0", "size": -(-group.disk // GIB)}],
                "clone": {"template_uuid": refer(f"{template}.id")},
                "extra_config": {
                    "guestinfo.userdata": _encode(user_data(name)),
                    "guestinfo.userdata.encoding": "base64",
                    "guestinfo.metadata": _encode(json.dumps({"local-hostname": name})),
                    "guestinfo.metadata.encoding": "base64",
                },
            }
        if group.apart and group.count > 1:
            rules[group.name] = {
                "name": f"{fleet}-{group.name}",
                "compute_cluster_id": refer("data.vsphere_compute_cluster.all.id"),
                "virtual_machine_ids": [refer(f"vsphere_virtual_machine.{name}.id") for name in group.names],
            }
    data: Block = {
        "vsphere_datacenter": {"all": {"name": place.datacenter}},
        "vsphere_compute_cluster": {"all": {"name": place.cluster, **datacenter}},
        "vsphere_datastore": stores,
        "vsphere_network": networks,
        "vsphere_virtual_machine": templates,
    }
    resources: Block = {"vsphere_virtual_machine": machines, "vsphere_compute_cluster_vm_anti_affinity_rule": rules}
    # The login comes from VSPHERE_USER and VSPHERE_PASSWORD.
    provider = {"vsphere_server": place.server if place.port == 443 else f"{place.server}:{place.port}"}
    return {
        "terraform": {"required_providers": {"vsphere": {"source": "vmware/vsphere"}}},
        "provider": {"vsphere": provider},
        "data": drop_empty(data),
        "resource": drop_empty(resources),
        "output": list_hosts(groups, lambda name: refer(f"vsphere_virtual_machine.{name}.default_ip_address")),
    }
