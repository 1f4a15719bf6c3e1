"""The `machines` section of fleet.yaml: which machines airfleet makes, and by which driver."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.config import JsonDict

from airfleet.spec import machines
from airfleet.spec.sections.hosts import Name, NetPort, Size, bytes_of
from airfleet.spec.sections.section import Section, rule
from airfleet.spec.sections.slas import Duration, seconds_of
from airfleet.spec.topology import Role

MOST_MACHINES = 200
_BY_ROLES: JsonDict = {"x-default": "by the roles: docs/guides/machines.md"}
_Word = Annotated[str, Field(min_length=1)]


class MachineGroupSection(Section):
    """Machines of one size. Their names are that of the group with a number: worker1, worker2."""

    count: Annotated[int, Field(ge=0, le=MOST_MACHINES)] = Field(default=1, description="How many.")
    cpus: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="CPUs of each.", examples=[16], json_schema_extra=_BY_ROLES
    )
    memory: Size | None = Field(
        default=None, description="Memory of each.", examples=["32G"], json_schema_extra=_BY_ROLES
    )
    disk: Size | None = Field(
        default=None, description="The size of the disk of each.", examples=["100G"], json_schema_extra=_BY_ROLES
    )
    image: _Word = Field(
        description="The image or template that it is made from, in the words of the driver.", examples=["debian-13"]
    )
    network: str = Field(default="", description="The network, in the words of the driver.", examples=["lan"])
    storage: str = Field(
        default="",
        description="Where the disk lies, in the words of the driver: a datastore, or a type of volume.",
        examples=["ssd-1"],
    )
    type: str = Field(
        default="",
        description="The type of machine, where a cloud has types. It is chosen by `cpus` and `memory` else.",
        examples=["r7i.2xlarge"],
    )
    apart: bool | None = Field(
        default=None,
        description="Whether the machines are kept on different hardware.",
        examples=[True],
        json_schema_extra={"x-default": "true for a group of two"},
    )
    roles: list[Role] = Field(default=[], description="The roles of the hosts.", examples=[["worker"]])
    pools: list[Name] = Field(default=[], description="The pools of the hosts.", examples=[["default"]])
    min: Annotated[int, Field(ge=0, le=MOST_MACHINES)] | None = Field(
        default=None,
        description="Lets the group scale: `airfleet scale machines` makes and destroys machines as the tasks of its"
        " pools need them, so many at least and `count` at most.",
        examples=[0],
        json_schema_extra={"x-default": "all machines are always there"},
    )
    calm: Duration = Field(
        default="15m", description="Of a group that scales: a machine ends when none was needed for so long."
    )

    @model_validator(mode="after")
    def _can_scale(self) -> MachineGroupSection:
        if self.min is None:
            return self
        if not self.pools or set(self.roles) - {"worker"}:
            raise rule("only a group of workers scales, with their `pools`", "name `pools`, and no role but worker")
        if self.min > self.count:
            raise rule(f"`min` is {self.min}, and `count` is {self.count}", "make `count` the larger one")
        return self


class VsphereSection(Section):
    """A vCenter. The login comes from AIRFLEET_VSPHERE_USER and AIRFLEET_VSPHERE_PASSWORD of the environment."""

    server: _Word = Field(description="The name of the vCenter.", examples=["vcenter.example.com"])
    port: NetPort = Field(default=443, description="Its port.")
    datacenter: _Word = Field(description="The datacenter.", examples=["DC1"])
    cluster: _Word = Field(description="The cluster whose hosts run the machines.", examples=["C1"])
    datastore: str = Field(
        default="",
        description="The datastore of groups that name no `storage`.",
        examples=["ssd-1"],
        json_schema_extra={"x-default": "that of the template"},
    )
    folder: str = Field(
        default="",
        description="The folder of the machines, as a path below the datacenter's folder of machines. It must exist.",
        examples=["platform/airflow"],
        json_schema_extra={"x-default": "that of the template"},
    )
    ca: str = Field(
        default="",
        description="A file with the certificate authority of the vCenter, relative to the project.",
        examples=["ssl/vcenter-ca.pem"],
        json_schema_extra={"x-default": "those of the system"},
    )


class Ec2Section(Section):
    """Amazon EC2. The login comes from the environment or the files of the AWS tools."""

    region: str = Field(
        default="",
        description="The region.",
        examples=["eu-central-1"],
        json_schema_extra={"x-default": "that of the AWS configuration"},
    )
    profile: str = Field(
        default="",
        description="The profile of the AWS configuration.",
        examples=["airflow"],
        json_schema_extra={"x-default": "AWS_PROFILE, or the default one"},
    )
    security_groups: list[_Word] = Field(
        default=[],
        description="The ids of the security groups of every machine.",
        examples=[["sg-0a1b2c"]],
        json_schema_extra={"x-default": "the default one of the network"},
    )
    generation: _Word = Field(
        default="7i", description="Of machines without `type`: the generation, as in `c7i` and `m7i`."
    )
    endpoint: str = Field(default="", description="Another address of the service, such as that of a VPC endpoint.")


class LibvirtSection(Section):
    """A hypervisor under libvirt. The login is that of the URI: a socket, or SSH with your keys."""

    uri: _Word = Field(
        default="qemu:///system",
        description="The hypervisor, as libvirt writes it.",
        examples=["qemu+ssh://root@kvm1.example.com/system"],
    )
    pool: _Word = Field(default="default", description="The storage pool of groups that name no `storage`.")


class OpenstackSection(Section):
    """An OpenStack. The login comes from `clouds.yaml` or the `OS_` variables of the environment."""

    cloud: str = Field(
        default="",
        description="The entry of `clouds.yaml` with the login.",
        examples=["sales"],
        json_schema_extra={"x-default": "OS_CLOUD, or the `OS_` variables"},
    )
    region: str = Field(
        default="",
        description="The region.",
        examples=["RegionOne"],
        json_schema_extra={"x-default": "that of the configuration"},
    )
    zone: str = Field(
        default="",
        description="The availability zone of every machine.",
        examples=["nova"],
        json_schema_extra={"x-default": "the cloud chooses"},
    )
    security_groups: list[_Word] = Field(
        default=[],
        description="The names or ids of the security groups of every machine.",
        examples=[["airflow"]],
        json_schema_extra={"x-default": "the default one of the project"},
    )


class MachinesSection(Section):
    """Machines that `airfleet machines` makes. The hosts stay in `hosts`: `airfleet machines hosts` prints them."""

    driver: machines.DriverName = Field(
        default="command",
        description="What makes machines: a program of yours, Amazon EC2, libvirt, OpenStack, or VMware vSphere.",
    )
    command: list[_Word] = Field(
        default=[],
        description="Of the driver `command`: the program with its arguments. It runs in the project folder, without a"
        " shell.",
        examples=[["machines/driver"]],
    )
    vsphere: VsphereSection | None = Field(
        default=None,
        description="Of the driver `vsphere`: where machines are made.",
        examples=[{"server": "vcenter.example.com"}],
    )
    ec2: Ec2Section | None = Field(
        default=None,
        description="Of the driver `ec2`: where machines are made.",
        examples=[{"region": "eu-central-1"}],
    )
    libvirt: LibvirtSection | None = Field(
        default=None,
        description="Of the driver `libvirt`: where machines are made.",
        examples=[{"uri": "qemu:///system"}],
    )
    openstack: OpenstackSection | None = Field(
        default=None,
        description="Of the driver `openstack`: where machines are made.",
        examples=[{"cloud": "sales"}],
    )
    groups: dict[Name, MachineGroupSection] = Field(
        default={}, description="The machines, by group.", examples=[{"worker": {}}]
    )

    @model_validator(mode="after")
    def _has_what_its_driver_needs(self) -> MachinesSection:
        given = {"command": bool(self.command)}
        given |= {name: getattr(self, name) is not None for name in ("ec2", "libvirt", "openstack", "vsphere")}
        # EC2 and OpenStack need no setting: all may come from their tools' configuration. libvirt has a usual place.
        if not given[self.driver] and self.driver not in ("ec2", "libvirt", "openstack"):
            raise rule(f"the driver {self.driver} needs `machines.{self.driver}`", f"add `{self.driver}`")
        for name, is_there in given.items():
            if is_there and name != self.driver:
                raise rule(f"`machines.{name}` belongs to another driver than {self.driver}", f"write driver: {name}")
        return self

    @model_validator(mode="after")
    def _has_unique_names(self) -> MachinesSection:
        taken: dict[str, str] = {}
        for name, group in self.groups.items():
            for number in range(1, group.count + 1):
                other = taken.setdefault(f"{name}{number}", name)
                if other != name:
                    raise rule(f"the groups {other} and {name} both make a machine {name}{number}", "rename one")
        scaling: dict[str, str] = {}
        for name, group in self.groups.items():
            for pool in group.pools if group.min is not None else ():
                if (other := scaling.setdefault(pool, name)) != name:
                    raise rule(f"the groups {other} and {name} both scale for the pool {pool}", "let one of them scale")
        return self


def convert(written: MachinesSection) -> machines.Machines:
    """Return the section as frozen values."""
    place = written.vsphere
    cloud = written.ec2 or Ec2Section()
    hypervisor = written.libvirt or LibvirtSection()
    stack = written.openstack or OpenstackSection()
    return machines.Machines(
        driver=written.driver,
        command=tuple(written.command),
        vsphere=None if place is None else machines.Vsphere(**place.model_dump()),
        ec2=machines.Ec2(**{**cloud.model_dump(), "security_groups": tuple(cloud.security_groups)})
        if written.driver == "ec2"
        else None,
        libvirt=machines.Libvirt(**hypervisor.model_dump()) if written.driver == "libvirt" else None,
        openstack=machines.Openstack(**{**stack.model_dump(), "security_groups": tuple(stack.security_groups)})
        if written.driver == "openstack"
        else None,
        groups=tuple(_convert_group(name, one) for name, one in written.groups.items()),
    )


def _convert_group(name: str, one: MachineGroupSection) -> machines.MachineGroup:
    size = machines.size_of_roles(one.roles)
    return machines.MachineGroup(
        name=name,
        count=one.count,
        cpus=one.cpus or size.cpus,
        memory=size.memory if one.memory is None else bytes_of(one.memory),
        disk=size.disk if one.disk is None else bytes_of(one.disk),
        image=one.image,
        network=one.network,
        storage=one.storage,
        type=one.type,
        apart=one.count == 2 if one.apart is None else one.apart,
        roles=tuple(dict.fromkeys(one.roles)),
        pools=tuple(dict.fromkeys(one.pools)),
        least=one.min,
        calm_s=float(seconds_of(one.calm)),
    )
