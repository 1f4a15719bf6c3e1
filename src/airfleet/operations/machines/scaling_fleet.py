"""What `airfleet scale machines` reads of a fleet, and does with its hosts: the database, SSH, and `airfleet apply`."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from airfleet.components.hosts import logs
from airfleet.errors import AirfleetError
from airfleet.operations.machines.scaling_rules import PoolNeed, WorkerLoad
from airfleet.operations.slots import Slots, open_slots
from airfleet.operations.workers import access
from airfleet.operations.workers.access import WorkerAccess
from airfleet.operations.workers.status import Worker
from airfleet.runners.fleet.transport import login
from airfleet.runners.fleet.transport.shell import HostShell
from airfleet.shell_script import read_program
from airfleet.spec.fleet import Fleet
from airfleet.spec.machines import MachineGroup
from airfleet.workspace import applied_hosts
from airfleet.workspace.project import read_fleet
from airfleet_provider.contract.slot_rules import SILENT_S

# The exit code of an apply after which only tasks of removed hosts are left.
DRAINING = 3
# One look at the log agent of a host lasts so long at most. The next run looks again.
LOOK_S = 20.0


class AppliedFleet:
    """The fleet of a project. fleet.yaml, and the hosts beside it, are read again for each question."""

    def __init__(self, project: Path, state: Path) -> None:
        self._project = project
        self._state = state

    def find_needs(self, group: MachineGroup, scaled: Sequence[str]) -> tuple[PoolNeed, ...]:
        with open_slots(self._project, self._state) as slots:
            return tuple(read_need(slots, pool, group.calm_s, scaled) for pool in group.pools)

    def list_loads(self) -> Mapping[str, WorkerLoad]:
        with open_slots(self._project, self._state) as slots:
            return read_loads(slots, read_fleet(self._project))

    def apply(self, dead: Sequence[str]) -> None:
        command = [sys.executable, "-m", "airfleet", "apply", str(self._project), "--state", str(self._state)]
        # The keys of new machines are unknown. Those of all others must be known.
        known = {host.name for host in applied_hosts.read(self._state)}
        forget = [word for host in dead if host in known for word in ("--forget", host)]
        done = subprocess.run([*command, "--accept-new-hosts", *forget], stdin=subprocess.DEVNULL, check=False)
        if done.returncode not in (0, DRAINING):
            raise AirfleetError(f"airfleet apply ended with {done.returncode}", hint="its output is above")

    def mark(self, host: str, *, drained: bool) -> None:
        with ExitStack() as stack:
            place, workers = self._find(stack, host)
            place.mark(workers, drained=drained)

    def is_at_rest(self, host: str) -> bool:
        with ExitStack() as stack:
            _, workers = self._find(stack, host)
            confirms = bool(workers) and all(one.is_at_rest for one in workers)
        if not confirms:
            return False
        # The worker itself, and what it told the api-servers, agree.
        load = self.list_loads().get(host)
        return load is not None and load.held == 0

    def find_unsent(self, host: str) -> str:
        fleet = read_fleet(self._project)
        place = next((one for one in fleet.hosts if one.name == host), None)
        if place is None or not fleet.with_role("logs"):
            return ""
        with closing(HostShell(place, self._project)) as shell:
            done = shell.run(build_log_look(), timeout_s=LOOK_S + 30)
        return done.out.strip() if done.code == 0 else f"its log agent cannot be asked: {done.err.strip()[-200:]}"

    def forget(self, address: str) -> None:
        login.forget_key(address, read_fleet(self._project).ssh, self._project)

    def _find(self, stack: ExitStack, host: str) -> tuple[WorkerAccess, tuple[Worker, ...]]:
        place = access.find(stack, self._project, self._state)
        return place, tuple(one for one in place.read() if one.host == host)


def build_log_look() -> str:
    """Return a command for a host. It prints why its log agent may not have sent all, or nothing if it has."""
    program = shlex.quote(read_program(__package__, "look_at_log_agent"))
    return f"python3 -c {program} {logs.AGENT_CONFIG} {LOOK_S:g}"


def read_need(slots: Slots, pool: str, calm_s: float, scaled: Sequence[str]) -> PoolNeed:
    """Return how many hosts the tasks of a pool need.

    Raises:
        UsageError: The pool does not scale.
        AirfleetError: The agents do not decide, so what they wrote last may be old.
    """
    needed, most = slots.find_demand(pool, calm_s=calm_s)
    own = [host for host in slots.find_rule(pool).hosts if host not in scaled]
    return PoolNeed(pool, needed, most, len(own))


def read_loads(slots: Slots, fleet: Fleet) -> Mapping[str, WorkerLoad]:
    """Return what each host holds whose workers, in all pools that scale, reported a moment ago."""
    rows = {(row["pool"], row["host"]): row for one in slots.list_pools() for row in one.workers}
    found = {}
    for host in fleet.with_role("worker"):
        own = [rows.get((pool, host.name)) for pool in host.pools if pool in slots.rules]
        fresh = [row for row in own if row and row["age_s"] is not None and row["age_s"] < SILENT_S]
        if own and len(fresh) == len(own):
            found[host.name] = WorkerLoad(sum(row["held"] for row in fresh), max(row["rank"] or 0 for row in fresh))
    return found
