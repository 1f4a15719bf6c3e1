"""The section `hosts` of fleet.yaml for machines that are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airfleet.operations.machines.records import MachineRecord, MachineState
from airfleet.spec.machines import MachineGroup


def describe_host(group: MachineGroup, address: str) -> dict[str, object]:
    """Return the host of a machine of a group."""
    roles = {"roles": list(group.roles)} if group.roles else {}
    pools = {"pools": list(group.pools)} if group.pools else {}
    return {"address": address, **roles, **pools}


def describe_hosts(
    groups: Sequence[MachineGroup], records: Mapping[str, MachineRecord]
) -> dict[str, dict[str, object]]:
    """Return the hosts of all machines that are made and whose group fleet.yaml has."""
    by_name = {group.name: group for group in groups}
    return {
        one.name: describe_host(by_name[one.group], one.address)
        for one in records.values()
        if one.state is MachineState.MADE and one.group in by_name
    }
