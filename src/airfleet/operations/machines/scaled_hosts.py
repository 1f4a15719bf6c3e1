"""The machines that come and go with the tasks: their phases and what was decided about them, in the state folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from airfleet.errors import AirfleetError
from airfleet.operations.machines.hosts import describe_host
from airfleet.operations.machines.scaling_rules import ScaledHost, ScalePhase
from airfleet.spec.load import SCALED_FILE
from airfleet.spec.machines import MachineGroup
from airfleet.workspace.state_folder import build_record, write_file

NAME, LOCK = "scaling.json", "scaling.lock"
# So many decisions are kept.
KEPT = 500
# The hosts of fleet.yaml have these besides those that are written in it.
IN_FLEET = (ScalePhase.JOINING, ScalePhase.SERVING, ScalePhase.LEAVING)


@dataclass(frozen=True, slots=True)
class ScaleEvent:
    """A machine began a phase. `at` are seconds since 1970."""

    at: float
    name: str
    phase: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScalingRecord:
    """All machines that come and go, by name, and the last decisions about them, the newest last."""

    hosts: Mapping[str, ScaledHost]
    events: tuple[ScaleEvent, ...] = ()

    def change(self, host: ScaledHost) -> ScalingRecord:
        """Return the record with a host in a new phase."""
        event = ScaleEvent(host.since, host.name, host.phase, host.reason)
        return ScalingRecord({**self.hosts, host.name: host}, (*self.events, event)[-KEPT:])

    def put(self, host: ScaledHost) -> ScalingRecord:
        """Return the record with other figures of a host, in the phase in which it is."""
        return replace(self, hosts={**self.hosts, host.name: host})

    def end(self, name: str, at: float) -> ScalingRecord:
        """Return the record without a host whose machine is destroyed."""
        event = ScaleEvent(at, name, "ended", self.hosts[name].reason)
        left = {key: one for key, one in self.hosts.items() if key != name}
        return ScalingRecord(left, (*self.events, event)[-KEPT:])


def read(state: Path) -> ScalingRecord:
    """Return the record of a state folder.

    Raises:
        AirfleetError: The record cannot be read.
    """
    path = state / NAME
    try:
        body: dict[str, Any] = json.loads(path.read_text())
        hosts = [build_record(ScaledHost, one, path) for one in body["hosts"]]
        events = tuple(build_record(ScaleEvent, one, path) for one in body["events"])
        return ScalingRecord({one.name: replace(one, phase=ScalePhase(one.phase)) for one in hosts}, events)
    except FileNotFoundError:
        return ScalingRecord({})
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "it says which machines come and go; bring it back from a backup of the state folder"
        raise AirfleetError(f"cannot be read: {error}", where=str(path), hint=hint) from None


def write(state: Path, record: ScalingRecord) -> None:
    """Replace the record, atomically and durably."""
    body = {
        "hosts": [asdict(one) for one in record.hosts.values()],
        "events": [asdict(one) for one in record.events],
    }
    write_file(state / NAME, json.dumps(body, indent=1))


def publish(project: Path, groups: Sequence[MachineGroup], record: ScalingRecord) -> None:
    """Make the hosts that serve, or will, part of the fleet for every command of the project."""
    by_name = {group.name: group for group in groups}
    hosts = {
        one.name: describe_host(by_name[one.group], one.address)
        for one in record.hosts.values()
        if one.phase in IN_FLEET and one.group in by_name
    }
    path, text = project / SCALED_FILE, json.dumps(hosts, indent=1)
    if not path.exists() or path.read_text() != text:
        write_file(path, text, mode=0o644)
