"""Which type of instance of EC2 a group of machines has."""

from __future__ import annotations

from airfleet.errors import AirfleetError
from airfleet.spec.machines import GIB, MachineGroup

# The families by GiB of memory for each CPU, and their sizes by CPUs.
_FAMILIES = ((2, "c"), (4, "m"), (8, "r"))
_SIZES = {2: "large", 4: "xlarge", 8: "2xlarge", 16: "4xlarge", 32: "8xlarge", 48: "12xlarge", 64: "16xlarge"}


def choose_type(group: MachineGroup, generation: str) -> str:
    """Return the type of instance of a group: its own one, or the smallest with so many CPUs and so much memory.

    Raises:
        AirfleetError: No type of these families is so large.
    """
    if group.type:
        return group.type
    for cpus, size in _SIZES.items():
        for ratio, family in _FAMILIES:
            if cpus >= group.cpus and cpus * ratio * GIB >= group.memory:
                return f"{family}{generation}.{size}"
    what = f"no type of instance is chosen for {group.cpus} CPUs and {group.memory // GIB} GiB"
    raise AirfleetError(what, where=f"machines.groups.{group.name}", hint="name one with `type`")
