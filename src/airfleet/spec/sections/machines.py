"""The `machines` section of fleet.yaml: which machines airfleet makes, and by which program."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from airfleet.spec import machines
from airfleet.spec.sections.hosts import Name, Size, bytes_of
from airfleet.spec.sections.section import Section, rule
from airfleet.spec.topology import Role

MOST_MACHINES = 200


class MachineGroupSection(Section):
    """Machines of one size. Their names are that of the group with a number: worker1, worker2."""

    count: Annotated[int, Field(ge=0, le=MOST_MACHINES)] = Field(default=1, description="How many.")
    cpus: Annotated[int, Field(ge=1)] = Field(description="CPUs of each.", examples=[16])
    memory: Size = Field(description="Memory of each.", examples=["32G"])
    disk: Size = Field(description="The size of the disk of each.", examples=["100G"])
    image: Annotated[str, Field(min_length=1)] = Field(
        description="The image or template that it is made from, in the words of the driver.", examples=["debian-13"]
    )
    network: str = Field(default="", description="The network, in the words of the driver.", examples=["lan"])
    roles: list[Role] = Field(default=[], description="The roles of the hosts.", examples=[["worker"]])
    pools: list[Name] = Field(default=[], description="The pools of the hosts.", examples=[["default"]])


class MachinesSection(Section):
    """Machines that `airfleet machines` makes. The hosts stay in `hosts`: `airfleet machines hosts` prints them."""

    driver: Literal["command"] = Field(default="command", description="What makes machines: a program of yours.")
    command: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] = Field(
        description="The program with its arguments. It runs in the project folder, without a shell.",
        examples=[["machines/driver"]],
    )
    groups: dict[Name, MachineGroupSection] = Field(
        default={}, description="The machines, by group.", examples=[{"worker": {}}]
    )

    @model_validator(mode="after")
    def _has_unique_names(self) -> MachinesSection:
        taken: dict[str, str] = {}
        for name, group in self.groups.items():
            for number in range(1, group.count + 1):
                other = taken.setdefault(f"{name}{number}", name)
                if other != name:
                    raise rule(f"the groups {other} and {name} both make a machine {name}{number}", "rename one")
        return self


def convert(written: MachinesSection) -> machines.Machines:
    """Return the section as frozen values."""
    return machines.Machines(
        command=tuple(written.command),
        groups=tuple(
            machines.MachineGroup(
                name=name,
                count=one.count,
                cpus=one.cpus,
                memory=bytes_of(one.memory),
                disk=bytes_of(one.disk),
                image=one.image,
                network=one.network,
                roles=tuple(dict.fromkeys(one.roles)),
                pools=tuple(dict.fromkeys(one.pools)),
            )
            for name, one in written.groups.items()
        ),
    )
