"""The machines that airfleet makes, as frozen values. Every value has passed the checks of `load.parse`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from airfleet.spec.topology import Role

GIB = 1 << 30

DriverName = Literal["command", "ec2", "libvirt", "openstack", "vsphere"]


@dataclass(frozen=True, slots=True)
class MachineSize:
    """What one machine has. Memory and disk are in bytes."""

    cpus: int
    memory: int
    disk: int


# The sizes of the platform that airfleet was designed for: 500 Dags and 50,000 tasks a day.
_WEB = MachineSize(4, 8 * GIB, 50 * GIB)
ROLE_SIZES: Mapping[Role, MachineSize] = {
    "web": _WEB,
    "scheduler": MachineSize(8, 16 * GIB, 50 * GIB),
    "worker": MachineSize(16, 32 * GIB, 100 * GIB),
    "database": MachineSize(8, 32 * GIB, 500 * GIB),
    # The reference gives no size for these. They start like a web host.
    "balancer": _WEB,
    "broker": _WEB,
    "monitor": _WEB,
    "logs": MachineSize(4, 8 * GIB, 200 * GIB),
}


def size_of_roles(roles: Sequence[Role]) -> MachineSize:
    """Return the size for a host with these roles: of each figure the largest. A host without roles is a worker."""
    sizes = [ROLE_SIZES[role] for role in roles or ("worker",)]
    return MachineSize(max(one.cpus for one in sizes), max(one.memory for one in sizes), max(one.disk for one in sizes))


@dataclass(frozen=True, slots=True)
class MachineGroup:
    """So many machines of one size. Memory and disk are in bytes. `roles` and `pools` are those of their hosts.

    `apart` asks the driver to keep the machines on different hardware. `image`, `network`, `storage` and `type` are
    words of the driver.

    A group with `least` scales: `airfleet scale machines` makes and destroys machines between `least` and `count`, and
    destroys one only if it was not needed for `calm_s` seconds.
    """

    name: str
    count: int
    cpus: int
    memory: int
    disk: int
    image: str
    network: str = ""
    storage: str = ""
    type: str = ""
    apart: bool = False
    roles: tuple[Role, ...] = ()
    pools: tuple[str, ...] = ()
    least: int | None = None
    calm_s: float = 900.0

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the machines: that of the group with a number."""
        return tuple(f"{self.name}{number}" for number in range(1, self.count + 1))


@dataclass(frozen=True, slots=True)
class Vsphere:
    """Where machines are made in a vCenter. An empty `datastore` is that of the template. `ca` is a file."""

    server: str
    port: int
    datacenter: str
    cluster: str
    datastore: str = ""
    folder: str = ""
    ca: str = ""


@dataclass(frozen=True, slots=True)
class Ec2:
    """Where machines are made in EC2. An empty `region` or `profile` is that of the AWS configuration."""

    region: str = ""
    profile: str = ""
    security_groups: tuple[str, ...] = ()
    generation: str = "7i"
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Libvirt:
    """The hypervisor that makes machines, and the storage pool of groups that name no other."""

    uri: str = "qemu:///system"
    pool: str = "default"


@dataclass(frozen=True, slots=True)
class Openstack:
    """Where machines are made in an OpenStack. An empty `cloud` or `region` is that of its tools' configuration."""

    cloud: str = ""
    region: str = ""
    zone: str = ""
    security_groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Machines:
    """What makes machines, and the groups of them.

    Of `command`, `vsphere`, `ec2`, `libvirt` and `openstack` the driver's own one is set.
    """

    driver: DriverName
    groups: tuple[MachineGroup, ...]
    command: tuple[str, ...] = ()
    vsphere: Vsphere | None = None
    ec2: Ec2 | None = None
    libvirt: Libvirt | None = None
    openstack: Openstack | None = None
