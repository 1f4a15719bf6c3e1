"""Which size a group of machines has in an OpenStack: its flavor, and its disk if that is a volume."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from airfleet.errors import AirfleetError
from airfleet.spec.machines import GIB, MachineGroup

# Extra specs that begin so ask for hardware that a platform does not need.
_SPECIAL = ("pci_passthrough:", "resources:")


@dataclass(frozen=True, slots=True)
class Flavor:
    """A size that the cloud has. Memory and disk are in bytes. A disk of 0 takes the size of the image."""

    id: str
    name: str
    cpus: int
    memory: int
    disk: int
    extra: frozenset[str] = frozenset()


def choose_flavor(group: MachineGroup, there: Iterable[Flavor]) -> Flavor:
    """Return the flavor of a group: its own one by name or id, or the smallest that is large enough.

    Each cloud has flavors of its own, so those that are `there` have to be looked up.
    With `storage`, the disk is a volume, and the flavor's own one does not count.

    Raises:
        AirfleetError: There is none.
    """
    where = f"machines.groups.{group.name}"
    flavors = sorted(there, key=lambda one: (one.cpus, one.memory, one.disk, one.name, one.id))
    if group.type:
        for one in flavors:
            if group.type in (one.id, one.name):
                return one
        raise AirfleetError(f"no flavor {group.type}", where=f"{where}.type", hint="`openstack flavor list` shows them")
    for one in flavors:
        is_special = any(key.startswith(_SPECIAL) for key in one.extra)
        has_disk = bool(group.storage) or one.disk >= group.disk
        if one.cpus >= group.cpus and one.memory >= group.memory and has_disk and not is_special:
            return one
    disk = "" if group.storage else f" and {group.disk // GIB} GiB of disk"
    what = f"no flavor has {group.cpus} CPUs, {group.memory // GIB} GiB of memory{disk}"
    hint = "name one with `type`, or take its disk from a volume with `storage`: `openstack flavor list` shows them"
    raise AirfleetError(what, where=where, hint=hint)


def describe_volume(group: MachineGroup, image: str) -> dict[str, object]:
    """Return the disk of a group with `storage` for Nova or Terraform: a volume that ends with its machine."""
    return {
        "uuid": image,
        "source_type": "image",
        "destination_type": "volume",
        "boot_index": 0,
        "volume_size": -(-group.disk // GIB),
        "volume_type": group.storage,
        "delete_on_termination": True,
    }
