"""Make and destroy machines as the tasks need them. Each intent is on disk before its deed (ADR 102)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations.machines import records, scaled_hosts, scaling_rules
from airfleet.operations.machines.scaling_rules import PoolNeed, ScaledHost, ScalePhase, WorkerLoad
from airfleet.operations.machines.session import MachineSession
from airfleet.spec.machines import MachineGroup
from airfleet.spec.topology import Host
from airfleet.workspace import file_lock

BY_HAND = "a person ends it"


class ScalingFleet(Protocol):
    """What a fleet says of its tasks, and what is done with its hosts. Every method may raise AirfleetError."""

    def find_needs(self, group: MachineGroup, scaled: Sequence[str]) -> tuple[PoolNeed, ...]:
        """Return what the pools of a group need. `scaled` are the hosts on machines that come and go."""

    def list_loads(self) -> Mapping[str, WorkerLoad]:
        """Return what each host whose workers all reported a moment ago holds."""

    def apply(self, dead: Sequence[str]) -> None:
        """Make every host what the files of the project say now. `dead` are hosts that left and may not answer."""

    def mark(self, host: str, *, drained: bool) -> None:
        """Let the workers of a host take no more tasks, or take some again."""

    def is_at_rest(self, host: str) -> bool:
        """Return whether every worker of a host confirms that it takes no task and holds none."""

    def find_unsent(self, host: str) -> str:
        """Return why the log agent of a host may not have sent all, or nothing if it has, or if there is none."""

    def forget(self, address: str) -> None:
        """Forget the SSH key of a machine that is destroyed: the next one at this address has another."""


@dataclass(frozen=True)
class HostScaling:
    """The machines of a project that come and go. `now` are seconds since 1970.

    `open_machines` reads fleet.yaml, and the hosts beside it, as they are at that moment.
    """

    project: Path
    state: Path
    open_machines: Callable[[], MachineSession]
    fleet: ScalingFleet
    now: Callable[[], float]
    tell: Callable[[str], None]

    def run(self) -> tuple[AirfleetError, ...]:
        """Decide, and do what is due. Return what could not be done: the next run goes on there.

        Raises:
            AirfleetError: The fleet does not say what its tasks need, or a record cannot be read. Nothing was changed.
        """
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file_lock.wait_and_hold(self.state / scaled_hosts.LOCK):
            groups = self.open_machines().machines.groups
            # An earlier run may have been killed between both files.
            scaled_hosts.publish(self.project, groups, scaled_hosts.read(self.state))
            self._decide([one for one in groups if one.least is not None])
            errors = [*self._make(), *self._drain()]
            scaled_hosts.publish(self.project, groups, scaled_hosts.read(self.state))
            return (*errors, *self._settle())

    def end(self, names: Sequence[str]) -> None:
        """Let the next run destroy machines without a look at their tasks, which run again elsewhere.

        Raises:
            UsageError: A machine is none of those that come and go. None is destroyed then.
        """
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file_lock.wait_and_hold(self.state / scaled_hosts.LOCK):
            known = scaled_hosts.read(self.state).hosts
            for name in names:
                if name not in known:
                    hint = f"these are: {', '.join(known)}" if known else "there is none now: airfleet machines list"
                    raise UsageError(f"{name} is no machine that comes and goes", hint=hint)
            for name in names:
                self._enter(replace(known[name], phase=ScalePhase.ENDING, reason=BY_HAND))

    def _decide(self, groups: Sequence[MachineGroup]) -> None:
        if not groups:
            return
        hosts = self.open_machines().fleet.hosts
        self._give_way(hosts)
        record = scaled_hosts.read(self.state)
        written = self._list_written(hosts, record)
        needs = {group.name: self.fleet.find_needs(group, tuple(record.hosts)) for group in groups}
        loads = self.fleet.list_loads()
        for group in groups:
            own = [one for one in record.hosts.values() if one.group == group.name]
            for change in scaling_rules.decide(group, needs[group.name], own, loads, written):
                address = record.hosts[change.name].address if change.name in record.hosts else ""
                host = ScaledHost(change.name, group.name, change.phase, change.reason, self.now(), address)
                record = self._enter(host)

    def _give_way(self, hosts: Sequence[Host]) -> None:
        """End machines in whose place fleet.yaml has another host by now. The next apply drains and removes them."""
        addresses = {one.name: one.address for one in hosts}
        for host in scaled_hosts.read(self.state).hosts.values():
            is_other = host.address and addresses.get(host.name, host.address) != host.address
            if is_other and host.phase is not ScalePhase.ENDING:
                self._enter(replace(host, phase=ScalePhase.ENDING, reason="fleet.yaml has another host of its name"))

    def _list_written(self, hosts: Sequence[Host], record: scaled_hosts.ScalingRecord) -> frozenset[str]:
        """Return the machines that fleet.yaml itself has as hosts, by the name or by the address. They stay there."""
        names, addresses = {one.name for one in hosts}, {one.address for one in hosts}
        made = {one.name for one in records.read(self.state).values() if one.address in addresses}
        return frozenset((names | made) - record.hosts.keys())

    def _make(self) -> list[AirfleetError]:
        hosts = {one.name: one for one in self._in_phase(ScalePhase.MAKING)}
        errors: list[AirfleetError] = []
        if not hosts:
            return errors
        try:
            for name, found in self.open_machines().make(tuple(hosts)):
                if isinstance(found, AirfleetError):
                    errors.append(found)
                else:
                    self._enter(replace(hosts[name], phase=ScalePhase.JOINING, address=found))
        except AirfleetError as error:
            # Those that are there join all the same.
            errors.append(error)
        return errors

    def _drain(self) -> list[AirfleetError]:
        errors = []
        for host in self._in_phase(ScalePhase.LEAVING):
            try:
                # Each time: the mark may not have been made before a kill.
                self.fleet.mark(host.name, drained=True)
                if self.fleet.is_at_rest(host.name):
                    self._leave(host)
            except AirfleetError as error:
                errors.append(error)
        return errors

    def _leave(self, host: ScaledHost) -> None:
        """End a machine that holds no task, once its log agent has sent what the tasks wrote. Its disk goes with it."""
        try:
            unsent = self.fleet.find_unsent(host.name)
        except AirfleetError as error:
            unsent = f"its log agent cannot be asked: {error.what}"
        if not unsent:
            self._enter(replace(host, phase=ScalePhase.ENDING))
        elif not host.rests or self.now() < host.since:
            # A clock that was set back begins the wait anew.
            self._enter(replace(host, rests=True, reason=f"it holds no task, and its log agent still sends: {unsent}"))
        elif self.now() - host.since >= scaling_rules.LOGS_S:
            why = f"it goes without its last logs, after {scaling_rules.LOGS_S:g} s: {unsent}"
            self._enter(replace(host, phase=ScalePhase.ENDING, reason=why))

    def _settle(self) -> list[AirfleetError]:
        """Apply once for all that come and go, and end what has gone."""
        joining, ending = self._in_phase(ScalePhase.JOINING), self._in_phase(ScalePhase.ENDING)
        if not joining and not ending:
            return []
        errors: list[AirfleetError] = []
        # A host that does not join is no reason to look at all hosts of the fleet in each run.
        applies = bool(ending) or any(scaling_rules.is_due(one, self.now()) for one in joining)
        try:
            if applies:
                self.fleet.apply([one.name for one in ending if one.reason == BY_HAND])
        except AirfleetError as error:
            # Another host may be the reason. Which of these have joined or left is seen one by one.
            errors.append(error)
        if joining:
            errors += self._meet(joining, has_applied=applies)
        for host in ending:
            try:
                self._end(host)
            except AirfleetError as error:
                errors.append(error)
        return errors

    def _meet(self, joining: Sequence[ScaledHost], *, has_applied: bool) -> list[AirfleetError]:
        """Let the hosts serve whose workers report. The others wait before there is another apply for them."""
        try:
            loads = self.fleet.list_loads()
        except AirfleetError as error:
            return [error]
        errors: list[AirfleetError] = []
        for host in joining:
            try:
                if host.name in loads:
                    self.fleet.mark(host.name, drained=False)
                    self._enter(replace(host, phase=ScalePhase.SERVING, failed=0, retry_at=0.0))
                elif has_applied:
                    later = scaling_rules.back_off(host, self.now())
                    scaled_hosts.write(self.state, scaled_hosts.read(self.state).put(later))
                    wait = f"the next apply for it is in {later.retry_at - self.now():g} s"
                    self.tell(f"{host.name}: its workers do not report after {later.failed} applies; {wait}")
            except AirfleetError as error:
                errors.append(error)
        return errors

    def _end(self, host: ScaledHost) -> None:
        if host.name in records.read(self.state):
            self.open_machines().destroy((host.name,))
        if host.address:
            self.fleet.forget(host.address)
        scaled_hosts.write(self.state, scaled_hosts.read(self.state).end(host.name, self.now()))

    def _in_phase(self, phase: ScalePhase) -> list[ScaledHost]:
        return [one for one in scaled_hosts.read(self.state).hosts.values() if one.phase is phase]

    def _enter(self, host: ScaledHost) -> scaled_hosts.ScalingRecord:
        record = scaled_hosts.read(self.state).change(replace(host, since=self.now()))
        scaled_hosts.write(self.state, record)
        self.tell(f"{host.name}: {host.phase}: {host.reason}")
        return record
