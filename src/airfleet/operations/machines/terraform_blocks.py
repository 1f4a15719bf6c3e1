"""Parts of a configuration of Terraform that those of all drivers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from airfleet.operations.machines.hcl import HclExpression
from airfleet.operations.machines.hosts import describe_host
from airfleet.spec.machines import MachineGroup

Block = dict[str, object]


def refer(path: str) -> HclExpression:
    """Return the reference to an attribute of another block."""
    return HclExpression(f"${{{path}}}")


def list_hosts(groups: tuple[MachineGroup, ...], address: Callable[[str], str]) -> Block:
    """Return the output `hosts`. `address` gives the reference to the address of a machine."""
    hosts = {name: describe_host(group, address(name)) for group in groups for name in group.names}
    return {"hosts": {"description": "`hosts` of fleet.yaml", "value": hosts}}


def drop_empty(blocks: Mapping[str, object]) -> Block:
    """Return the blocks that have something in them."""
    return {name: block for name, block in blocks.items() if block != {}}
