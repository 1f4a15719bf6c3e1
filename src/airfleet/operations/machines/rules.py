"""What to do about machines, as a pure function of fleet.yaml, the records and what the driver sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from airfleet.operations.machines.driver import Machine
from airfleet.operations.machines.records import MachineRecord, MachineState
from airfleet.spec.machines import MachineGroup


class MachineAction(StrEnum):
    """What `apply` does about a machine."""

    CREATE = "create"
    RESUME = "resume"  # it may be made already: ask for it with the same key
    WAIT = "wait"  # it has no address yet
    END = "end"  # go on to destroy it
    KEEP = "keep"
    MISSING = "missing"  # it was made, and the driver does not see it: a person decides
    SURPLUS = "surplus"  # fleet.yaml has it no more; only `destroy` destroys it
    ORPHAN = "orphan"  # it has the fleet's tag, and no record: nobody touches it


@dataclass(frozen=True, slots=True)
class MachineStep:
    """One machine and what to do about it. `why` is a sentence for a user."""

    name: str
    action: MachineAction
    why: str
    group: MachineGroup | None = None
    machine: Machine | None = None

    @property
    def is_change(self) -> bool:
        """Whether `apply` does something."""
        return self.action in (MachineAction.CREATE, MachineAction.RESUME, MachineAction.WAIT, MachineAction.END)


def decide(
    groups: Sequence[MachineGroup], records: Mapping[str, MachineRecord], seen: Sequence[Machine]
) -> tuple[MachineStep, ...]:
    """Return a step for each machine: those of fleet.yaml in their order, then those that it does not have."""
    # Of a group that scales, `airfleet scale machines` decides which ones are made.
    wanted = {name: group for group in groups for name in group.names if group.least is None or name in records}
    by_key = {one.key: one for one in seen if one.key}
    steps = [_decide_wanted(name, group, records.get(name), by_key) for name, group in wanted.items()]
    for name, record in records.items():
        if name in wanted:
            continue
        machine = by_key.get(record.key)
        if record.state is MachineState.DESTROYING:
            steps.append(MachineStep(name, MachineAction.END, "its destruction was interrupted", machine=machine))
        else:
            why = f"fleet.yaml does not have it; `airfleet machines destroy {name}` destroys it"
            steps.append(MachineStep(name, MachineAction.SURPLUS, why, machine=machine))
    known = {record.key for record in records.values()}
    for one in seen:
        if one.key not in known or not one.key:
            why = f"{one.id} has the tag of this fleet, and airfleet has no record that it made it"
            steps.append(MachineStep(one.name or one.id, MachineAction.ORPHAN, why, machine=one))
    return tuple(steps)


def decide_wanted(name: str, group: MachineGroup, record: MachineRecord | None, seen: Sequence[Machine]) -> MachineStep:
    """Return the step for one machine that there should be. `why` of KEEP is its address."""
    return _decide_wanted(name, group, record, {one.key: one for one in seen if one.key})


def _decide_wanted(
    name: str, group: MachineGroup, record: MachineRecord | None, by_key: Mapping[str, Machine]
) -> MachineStep:
    if record is None:
        return MachineStep(
            name, MachineAction.CREATE, f"{group.cpus} CPUs, {group.memory >> 20} MiB, {group.image}", group
        )
    machine = by_key.get(record.key)
    if record.state is MachineState.DESTROYING:
        return MachineStep(
            name, MachineAction.END, "its destruction was interrupted; the next apply makes it anew", group, machine
        )
    if record.state is MachineState.CREATING:
        why = "its creation was interrupted" + ("; it is there" if machine else "")
        if machine is not None and machine.trouble:
            why = f"it will never run: {machine.trouble}; `airfleet machines destroy {name}` destroys it"
        return MachineStep(name, MachineAction.RESUME, why, group, machine)
    if machine is None:
        why = f"the driver does not see {record.id}; if it is gone, `airfleet machines destroy {name}` forgets it"
        return MachineStep(name, MachineAction.MISSING, why, group)
    if not machine.address:
        return MachineStep(name, MachineAction.WAIT, "it has no address yet", group, machine)
    return MachineStep(name, MachineAction.KEEP, machine.address, group, machine)
