"""The machines of an OpenStack as blocks of Terraform, for its provider `terraform-provider-openstack/openstack`."""

from __future__ import annotations

import re

from airfleet.errors import UsageError
from airfleet.operations.machines.driver import UserData
from airfleet.operations.machines.openstack_flavors import describe_volume
from airfleet.operations.machines.terraform_blocks import Block, drop_empty, list_hosts, refer
from airfleet.spec.machines import MachineGroup, Openstack

# What is no name: the driver takes both.
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def write(place: Openstack, groups: tuple[MachineGroup, ...], fleet: str, user_data: UserData) -> Block:
    """Return the configuration. The login comes from `clouds.yaml` or the `OS_` variables, as for the driver.

    Raises:
        UsageError: A group has no `type`: which flavors a cloud has is not known here.
    """
    images: Block = {}
    networks: Block = {}
    apart: Block = {}
    instances: Block = {}
    for group in groups:
        where = f"machines.groups.{group.name}"
        if not group.type:
            hint = "name a flavor of the cloud: `openstack flavor list` shows them"
            raise UsageError("Terraform needs `type` of each group of OpenStack", where=where, hint=hint)
        if not _ID.fullmatch(group.image):
            images[group.name] = {"name": group.image}
        if group.network and not _ID.fullmatch(group.network):
            networks[group.name] = {"name": group.network}
        if group.apart:
            apart[group.name] = {"name": f"{fleet}-{group.name}", "policies": ["soft-anti-affinity"]}
        for name in group.names:
            instances[name] = _describe(place, group, f"{fleet}-{name}", user_data(name))
    provider = {key: value for key, value in (("cloud", place.cloud), ("region", place.region)) if value}
    data = {"openstack_images_image_v2": images, "openstack_networking_network_v2": networks}
    resources = {"openstack_compute_servergroup_v2": apart, "openstack_compute_instance_v2": instances}
    source = "terraform-provider-openstack/openstack"
    return {
        "terraform": {"required_providers": {"openstack": {"source": source}}},
        "provider": {"openstack": provider},
        "data": drop_empty(data),
        "resource": drop_empty(resources),
        "output": list_hosts(groups, lambda name: refer(f"openstack_compute_instance_v2.{name}.access_ip_v4")),
    }


def _describe(place: Openstack, group: MachineGroup, name: str, user_data: str) -> Block:
    image, network = group.image, group.network
    if not _ID.fullmatch(image):
        image = refer(f"data.openstack_images_image_v2.{group.name}.id")
    if not _ID.fullmatch(network):
        network = refer(f"data.openstack_networking_network_v2.{group.name}.id")
    one: Block = {"name": name, "flavor_name": group.type, "user_data": user_data}
    if group.storage:
        one["block_device"] = [describe_volume(group, image)]
    else:
        one["image_id"] = image
    if group.network:
        one["network"] = [{"uuid": network}]
    if place.security_groups:
        one["security_groups"] = list(place.security_groups)
    if place.zone:
        one["availability_zone"] = place.zone
    if group.apart:
        one["scheduler_hints"] = [{"group": refer(f"openstack_compute_servergroup_v2.{group.name}.id")}]
    return one
