"""The machines that airfleet makes, as frozen values. Every value has passed the checks of `load.parse`."""

from __future__ import annotations

from dataclasses import dataclass

from airfleet.spec.topology import Role


@dataclass(frozen=True, slots=True)
class MachineGroup:
    """So many machines of one size. Memory and disk are in bytes. `roles` and `pools` are those of their hosts."""

    name: str
    count: int
    cpus: int
    memory: int
    disk: int
    image: str
    network: str = ""
    roles: tuple[Role, ...] = ()
    pools: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the machines: that of the group with a number."""
        return tuple(f"{self.name}{number}" for number in range(1, self.count + 1))


@dataclass(frozen=True, slots=True)
class Machines:
    """The program that makes machines, and the groups of them."""

    command: tuple[str, ...]
    groups: tuple[MachineGroup, ...]
