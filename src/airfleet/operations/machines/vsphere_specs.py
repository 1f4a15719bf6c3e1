"""Requests to a vCenter as values, and the read of many objects at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyVmomi import vim, vmodl

from airfleet.errors import AirfleetError
from airfleet.spec.machines import GIB, MachineGroup

_PAGE = 200


def read_all(
    content: vim.ServiceInstanceContent, root: vim.ManagedEntity, kind: type, paths: Sequence[str]
) -> Iterator[tuple[vim.ManagedEntity, Mapping[str, Any]]]:
    """Yield every object of a kind below a folder with some of its properties. A property that is unset is missing."""
    view = content.viewManager.CreateContainerView(root, [kind], True)
    try:
        walk = vmodl.query.PropertyCollector.TraversalSpec(name="all", path="view", skip=False, type=type(view))
        start = vmodl.query.PropertyCollector.ObjectSpec(obj=view, skip=True, selectSet=[walk])
        wanted = vmodl.query.PropertyCollector.PropertySpec(type=kind, pathSet=list(paths))
        spec = vmodl.query.PropertyCollector.FilterSpec(objectSet=[start], propSet=[wanted])
        options = vmodl.query.PropertyCollector.RetrieveOptions(maxObjects=_PAGE)
        page = content.propertyCollector.RetrievePropertiesEx([spec], options)
        while page is not None:
            for one in page.objects:
                yield one.obj, {said.name: said.val for said in one.propSet}
            if not page.token:
                return
            page = content.propertyCollector.ContinueRetrievePropertiesEx(page.token)
    finally:
        view.Destroy()


def grow_disk(vm: vim.VirtualMachine, group: MachineGroup) -> vim.vm.device.VirtualDeviceSpec | None:
    """Return the change of the first disk of a machine or template to the size of a group, or None if it has it.

    Raises:
        AirfleetError: It has no disk, or a larger one.
    """
    where = f"machines.groups.{group.name}.disk"
    disks = [one for one in vm.config.hardware.device if isinstance(one, vim.vm.device.VirtualDisk)]
    if not disks:
        raise AirfleetError(f"{vm.name} has no disk", where=where)
    disk = disks[0]
    if disk.capacityInKB > group.disk >> 10:
        what = f"the disk of {vm.name} has {-(-disk.capacityInKB * 1024 // GIB)} GiB already"
        raise AirfleetError(what, where=where, hint="a disk cannot shrink: ask for as much or more")
    if disk.capacityInKB == group.disk >> 10:
        return None
    disk.capacityInKB = group.disk >> 10
    disk.capacityInBytes = group.disk
    return vim.vm.device.VirtualDeviceSpec(operation="edit", device=disk)


def connect_card(template: vim.VirtualMachine, network: vim.Network) -> vim.vm.device.VirtualDeviceSpec:
    """Return the change of the first network card of a template to a network or a port group.

    Raises:
        AirfleetError: The template has no network card.
    """
    cards = [one for one in template.config.hardware.device if isinstance(one, vim.vm.device.VirtualEthernetCard)]
    if not cards:
        raise AirfleetError(f"the template {template.name} has no network card")
    card = cards[0]
    if isinstance(network, vim.dvs.DistributedVirtualPortgroup):
        switch = network.config.distributedVirtualSwitch
        port = vim.dvs.PortConnection(portgroupKey=network.key, switchUuid=switch.uuid)
        card.backing = vim.vm.device.VirtualEthernetCard.DistributedVirtualPortBackingInfo(port=port)
    else:
        card.backing = vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(deviceName=network.name, network=network)
    card.connectable = vim.vm.device.VirtualDevice.ConnectInfo(startConnected=True, connected=True)
    card.connectable.allowGuestControl = True
    # The clone gets a hardware address of its own.
    card.addressType, card.macAddress = "assigned", None
    return vim.vm.device.VirtualDeviceSpec(operation="edit", device=card)


def change_rule(
    former: vim.cluster.RuleInfo | None, name: str, members: Sequence[vim.VirtualMachine]
) -> vim.cluster.RuleSpec | None:
    """Return the change of a rule so that it has exactly these members, or None if there is nothing to change."""
    if len(members) < 2:
        return None if former is None else vim.cluster.RuleSpec(operation="remove", removeKey=former.key)
    if former is not None and {one._moId for one in former.vm} == {one._moId for one in members}:
        return None
    rule = vim.cluster.AntiAffinityRuleSpec(name=name, enabled=True, mandatory=False, vm=list(members))
    if former is None:
        return vim.cluster.RuleSpec(operation="add", info=rule)
    rule.key = former.key
    return vim.cluster.RuleSpec(operation="edit", info=rule)
