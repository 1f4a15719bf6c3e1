"""A driver of machines in this process, and fleets whose machines it makes, for tests of `airfleet machines`."""

from __future__ import annotations

from airfleet.errors import AirfleetError
from airfleet.operations.machines.driver import Machine
from airfleet.operations.machines.rules import MachineAction
from airfleet.operations.machines.session import MachineSession
from airfleet.spec import load
from airfleet.spec.fleet import Fleet
from airfleet.spec.machines import MachineGroup
from killed_lines import KilledError

GROUP = "{cpus: 2, memory: 4G, disk: 20G, image: debian-13"


class Cloud:
    """A driver in this process. It dies before or after its n-th deed, as a killed command does."""

    takes_late = False

    def __init__(self) -> None:
        self.takes_late = False
        self.refusal: AirfleetError | None = None
        self.machines: dict[str, Machine] = {}
        self.dies_at: int | None = None
        self.deeds = 0
        self.has_addresses = True
        self.unfinished: set[str] = set()

    def step(self) -> None:
        self.deeds += 1
        if self.deeds == self.dies_at:
            raise KilledError

    def list(self) -> tuple[Machine, ...]:
        return tuple(self.machines.values())

    def list_unfinished(self) -> frozenset[str]:
        return frozenset(self.unfinished)

    def create(self, name: str, key: str, group: MachineGroup) -> Machine:
        self.step()
        if self.refusal is not None:
            raise self.refusal
        found = next((one for one in self.machines.values() if one.key == key), None)
        if found is None:
            number = len(self.machines) + 1
            address = f"10.0.0.{number}" if self.has_addresses else ""
            found = self.machines[f"vm-{number}"] = Machine(f"vm-{number}", name, key, address)
        self.step()
        return found

    def destroy(self, machine: Machine) -> None:
        self.step()
        self.machines.pop(machine.id, None)
        self.step()


def parse(text: str) -> Fleet:
    return load.parse(text, file="fleet.yaml", default_name="demo", cpus=2)


def describe(count: int = 2, more: str = "") -> str:
    return (
        f"machines:\n  command: [./driver]\n  groups:\n    worker: {GROUP}, count: {count}, pools: [default]}}\n{more}"
    )


def list_actions(session: MachineSession) -> list[tuple[str, MachineAction]]:
    return [(step.name, step.action) for step in session.plan()]
