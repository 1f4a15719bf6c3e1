"""Make and destroy machines. A record is written before each deed, so that an interrupted command can go on."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.machines import records, rules
from airfleet.operations.machines.driver import KEY_TAG, Driver, Machine, UnsureError
from airfleet.operations.machines.records import MachineRecord, MachineState
from airfleet.operations.machines.rules import MachineAction, MachineStep
from airfleet.spec.fleet import Fleet
from airfleet.spec.machines import MachineGroup, Machines
from airfleet.workspace import applied_hosts, file_lock

ADDRESS_S, PAUSE_S = 600.0, 5.0
# The driver is asked for an address after this pause first, and then after longer ones up to PAUSE_S.
FIRST_PAUSE_S = 0.5
# A request that was sent before a kill is taken within this time, or never. Then its machine shows in lists, or the
# request is unfinished, which may last.
LATE_S = 60.0
UNFINISHED_S = 1800.0


@dataclass(frozen=True)
class MachineSession:
    """The machines of one fleet. `clock` counts seconds, `sleep` waits for some, `new_key` makes a random key."""

    fleet: Fleet
    machines: Machines
    state: Path
    driver: Driver
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    tell: Callable[[str], None]
    new_key: Callable[[], str] = lambda: secrets.token_hex(16)

    def plan(self) -> tuple[MachineStep, ...]:
        """Return what `apply` would do."""
        return rules.decide(self.machines.groups, records.read(self.state), self._list())

    def apply(self) -> tuple[MachineStep, ...]:
        """Make the machines that are missing, and return the steps after it. Nothing in use is destroyed.

        Raises:
            AirfleetError: The driver fails, or a machine gets no address in time. The next apply goes on.
        """
        with self._lock():
            steps = [step for step in self.plan() if step.is_change]
            for step in steps:
                if step.action is MachineAction.END:
                    self._end(records.read(self.state)[step.name], step.machine)
                    self.tell(f"{step.name}: destroyed")
            for record in self._make([step for step in steps if step.action is not MachineAction.END]):
                self.tell(f"{record.name}: {record.address}")
            return self.plan()

    def make(self, names: Sequence[str]) -> Iterator[tuple[str, str | AirfleetError]]:
        """Make machines of groups side by side, if they are missing. Another call goes on with the same ones.

        Yield each with its address as soon as that is known, or with the reason why it was not made.

        Raises:
            AirfleetError: The driver fails, or a machine gets no address in time.
        """
        with self._lock():
            begun: list[tuple[MachineRecord, Machine]] = []
            for name in names:
                try:
                    step = self._prepare(name)
                    if step.is_change:
                        begun.append(self._create(step))
                    else:
                        yield name, step.why
                except AirfleetError as error:
                    yield name, error
            for made in self._meet(begun):
                yield made.name, made.address

    def _prepare(self, name: str) -> MachineStep:
        """Return the step that makes a machine. What is left of a machine that nobody wants any more is destroyed."""
        group = next((one for one in self.machines.groups if name in one.names), None)
        if group is None:
            raise UsageError(f"fleet.yaml has no machine {name}", hint="raise `count` of its group")
        step = self._decide(name, group)
        if step.action is MachineAction.END:
            self._end(records.read(self.state)[name], step.machine)
            step = self._decide(name, group)
        if step.action is MachineAction.MISSING:
            raise UsageError(f"{name}: {step.why}", hint="airfleet machines plan")
        return step

    def _decide(self, name: str, group: MachineGroup) -> MachineStep:
        return rules.decide_wanted(name, group, records.read(self.state).get(name), self._list())

    def destroy(self, names: tuple[str, ...]) -> None:
        """Destroy machines that airfleet made.

        Raises:
            UsageError: There is no record of a machine, or it is still a host of the fleet. None is destroyed then.
            AirfleetError: The driver fails.
        """
        with self._lock():
            known = records.read(self.state)
            seen = {one.key: one for one in self._list() if one.key}
            hosts = {host.address: host.name for host in (*applied_hosts.read(self.state), *self.fleet.hosts)}
            for name in names:
                if name not in known:
                    hint = "airfleet destroys only machines that it made: `airfleet machines list` shows them"
                    raise UsageError(f"airfleet did not make {name}", hint=hint)
                machine = seen.get(known[name].key)
                address = (machine.address if machine else "") or known[name].address
                if host := hosts.get(address):
                    hint = f"take {host} out of `hosts`, run `airfleet apply`, and destroy it then"
                    raise UsageError(f"{name} is the host {host} of this fleet", hint=hint)
            for name in names:
                self._end(known[name], seen.get(known[name].key))
                self.tell(f"{name}: destroyed")

    def _list(self) -> tuple[Machine, ...]:
        """Return what the driver sees. Two machines with one key are an error: nobody knows which one is airfleet's."""
        seen = self.driver.list()
        by_key: dict[str, Machine] = {}
        for one in seen:
            if one.key and (other := by_key.setdefault(one.key, one)) is not one:
                what = f"{other.id} and {one.id} have the same tag {KEY_TAG}"
                raise AirfleetError(what, hint="one is a copy; take this tag from the copy")
        return seen

    def _make(self, steps: Sequence[MachineStep]) -> Iterator[MachineRecord]:
        """Make machines, and yield each when its address is known. They start side by side."""
        return self._meet(self._create(step) for step in steps)

    def _meet(self, begun: Iterable[tuple[MachineRecord, Machine]]) -> Iterator[MachineRecord]:
        """Yield each of some machines when its address is known."""
        unmet: dict[str, MachineRecord] = {}
        troubles: list[str] = []
        for record, machine in begun:
            if machine.address:
                yield self._finish(record, machine.address)
            else:
                unmet[record.key] = record
        end, pause_s = self.clock() + ADDRESS_S, FIRST_PAUSE_S
        while unmet:
            for found in self.driver.list():
                if found.trouble and found.key in unmet:
                    troubles.append(f"{unmet.pop(found.key).name} ({found.id}): {found.trouble}")
                elif found.address and found.key in unmet:
                    yield self._finish(unmet.pop(found.key), found.address)
            if unmet and self.clock() >= end:
                names = ", ".join(f"{record.name} ({record.id})" for record in unmet.values())
                what = f"no address within {ADDRESS_S:g} s: {names}"
                raise AirfleetError(what, hint="airfleet machines apply: it goes on with these machines")
            if unmet:
                self.sleep(pause_s)
                pause_s = min(PAUSE_S, pause_s * 1.5)
        if troubles:
            hint = "destroy it: `airfleet machines destroy`, or `airfleet scale machines --end`; then another is made"
            raise AirfleetError(f"it will never run: {'; '.join(troubles)}", hint=hint)

    def _create(self, step: MachineStep) -> tuple[MachineRecord, Machine]:
        assert step.group is not None  # noqa: S101 - only machines of fleet.yaml are made
        known = records.read(self.state)
        record = known.get(step.name)
        if step.action is MachineAction.CREATE or record is None:
            record = MachineRecord(step.name, step.group.name, self.new_key(), MachineState.CREATING)
            self._save(record)
        machine = step.machine if step.action is MachineAction.WAIT else None
        if self.driver.takes_late and step.action is MachineAction.RESUME and not record.id and step.machine is None:
            # The request of the interrupted apply may be on its way. A second one would make a second machine.
            machine = self._find_late(record)
        try:
            # Of a machine that an interrupted apply left, `create` does what is undone: it may not even be switched on.
            machine = machine or self.driver.create(step.name, record.key, step.group)
        except UnsureError:
            raise
        except AirfleetError:
            if self.driver.takes_late and not record.id and step.machine is None:
                self._forget(record)  # nothing is left that the next apply would have to look for
            raise
        record = replace(record, id=machine.id)
        self._save(record)
        return record, machine

    def _finish(self, record: MachineRecord, address: str) -> MachineRecord:
        made = replace(record, state=MachineState.MADE, address=address)
        self._save(made)
        return made

    def _end(self, record: MachineRecord, machine: Machine | None) -> None:
        """Destroy a machine. One that the driver does not find is gone already, or was never made."""
        self._save(replace(record, state=MachineState.DESTROYING))
        if machine is None and record.id:
            # A list may lack a machine that is there. Asked by its id, the driver knows.
            machine = Machine(record.id, record.name, record.key, record.address)
        elif machine is None:
            machine = self._find_late(record)
        if machine is not None:
            self.driver.destroy(machine)
        self._forget(record)

    def _find_late(self, record: MachineRecord) -> Machine | None:
        """Return the machine that an interrupted apply asked for, when it is made, or None if it never will be.

        Raises:
            AirfleetError: Requests of that time do not end. The next call goes on.
        """
        self.tell(f"{record.name}: an apply was interrupted while it was made; looks for it for {LATE_S:g} s")
        end = self.clock() + LATE_S
        last = end + UNFINISHED_S
        unfinished: frozenset[str] = frozenset()
        has_told = False
        while True:
            # Which one of them makes this machine is not to be seen. Later ones are not for it.
            now, present = self.clock(), self.driver.list_unfinished()
            unfinished = unfinished | present if now < end else unfinished & present
            # After the requests: a machine whose request has ended is in this list.
            if found := next((one for one in self._list() if one.key == record.key), None):
                return found
            if now >= end and not unfinished:
                return None
            if now >= last:
                what = f"{len(unfinished)} machines are still being made, and {record.name} may be one of them"
                raise AirfleetError(what, hint=f"airfleet machines destroy {record.name}: it looks again")
            if now >= end and not has_told:
                self.tell(f"{record.name}: waits for {len(unfinished)} machines that are still being made")
                has_told = True
            self.sleep(PAUSE_S)

    def _forget(self, record: MachineRecord) -> None:
        records.write(self.state, {name: one for name, one in records.read(self.state).items() if name != record.name})

    def _save(self, record: MachineRecord) -> None:
        records.write(self.state, {**records.read(self.state), record.name: record})

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file_lock.wait_and_hold(self.state / records.LOCK):
            yield
