"""A fleet whose machines come and go, in this process, for tests of `airfleet scale machines`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from airfleet.errors import AirfleetError
from airfleet.operations.machines import records, scaled_hosts
from airfleet.operations.machines.command import CommandDriver
from airfleet.operations.machines.driver import Driver, Machine
from airfleet.operations.machines.scaling import HostScaling
from airfleet.operations.machines.scaling_rules import PoolNeed, WorkerLoad
from airfleet.operations.machines.session import MachineSession
from airfleet.spec import load
from airfleet.spec.fleet import Fleet
from airfleet.spec.machines import MachineGroup
from airfleet.workspace import applied_hosts

FLEET = """
machines:
  command: [python3, driver.py]
  groups:
    worker: {image: debian, count: 3, min: 0, pools: [default]}
pools: {default: {concurrency: 8, scale: {}}}
hosts:
  one: {address: 10.1.0.1, roles: [web, scheduler, database, broker]}
  two: {address: 10.1.0.2, pools: [default]}
"""


def read(project: Path) -> Fleet:
    """Return the fleet of a project. Hundreds of runs of a test read the same files."""
    scaled = project / load.SCALED_FILE
    return _read(project, (project / "fleet.yaml").read_text(), scaled.read_text() if scaled.exists() else "")


@functools.cache
def _read(project: Path, *_: str) -> Fleet:
    return load.read(project, cpus=2)


@dataclass
class Estate:
    """A fleet in this process: `apply` installs what the files of the project say, on machines that are there."""

    project: Path
    state: Path
    needs: tuple[int, int] = (1, 1)
    held: dict[str, int] = field(default_factory=dict)
    drained: set[str] = field(default_factory=set)
    forgotten: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    is_broken: bool = False
    unsent: str | AirfleetError = ""
    silent: set[str] = field(default_factory=set)
    applies: int = 0
    looks: int = 0
    now: float = 1e9

    def find_needs(self, group: MachineGroup, scaled: Sequence[str]) -> tuple[PoolNeed, ...]:
        own = [one.name for one in read(self.project).hosts if one.pools and one.name not in scaled]
        return tuple(PoolNeed(pool, *self.needs, len(own)) for pool in group.pools)

    def list_loads(self) -> Mapping[str, WorkerLoad]:
        self.looks += 1
        known = {one.name for one in applied_hosts.read(self.state)} - self.silent
        made = [one.name for one in records.read(self.state).values() if one.name in known]
        return {name: WorkerLoad(self.held.get(name, 0), rank) for rank, name in enumerate(sorted(made))}

    def apply(self, dead: Sequence[str]) -> None:
        self.applies += 1
        if self.is_broken:
            raise AirfleetError("airfleet apply ended with 1")
        self.dead = [*self.dead, *dead]
        applied_hosts.write(self.state, read(self.project).hosts)

    def mark(self, host: str, *, drained: bool) -> None:
        self.drained = self.drained | {host} if drained else self.drained - {host}

    def is_at_rest(self, host: str) -> bool:
        return host in self.drained and not self.held.get(host)

    def find_unsent(self, host: str) -> str:
        if isinstance(self.unsent, AirfleetError):
            raise self.unsent
        return self.unsent

    def forget(self, address: str) -> None:
        self.forgotten.append(address)


class WatchedDriver(CommandDriver):
    """The driver `command` with a real program. It notes whose tasks a destruction would have killed."""

    killed: list[str]
    estate: Estate

    def destroy(self, machine: Machine) -> None:
        if self.estate.held.get(machine.name):
            self.killed.append(machine.name)
        super().destroy(machine)


class Cloud:
    """A driver in this process, for hundreds of runs."""

    takes_late = False

    def __init__(self) -> None:
        self.machines: dict[str, Machine] = {}

    def list(self) -> tuple[Machine, ...]:
        return tuple(self.machines.values())

    def list_unfinished(self) -> frozenset[str]:
        return frozenset()

    def create(self, name: str, key: str, group: MachineGroup) -> Machine:
        number = len(self.machines) + 1
        return self.machines.setdefault(key, Machine(f"vm-{number}", name, key, f"10.0.0.{number}"))

    def destroy(self, machine: Machine) -> None:
        self.machines.pop(machine.key, None)


def build(estate: Estate, driver: Driver, clock: Callable[[], float] = lambda: 0.0) -> HostScaling:
    def open_machines() -> MachineSession:
        fleet = read(estate.project)
        assert fleet.machines
        return MachineSession(fleet, fleet.machines, estate.state, driver, clock, lambda _: None, lambda _: None)

    return HostScaling(estate.project, estate.state, open_machines, estate, lambda: estate.now, lambda _: None)


def list_phases(estate: Estate) -> dict[str, str]:
    return {one.name: str(one.phase) for one in scaled_hosts.read(estate.state).hosts.values()}


def list_hosts(estate: Estate) -> list[str]:
    return [one.name for one in read(estate.project).hosts]
