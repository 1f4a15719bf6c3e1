"""A drill's injector on test machines. It does from outside what a script inside a machine cannot do."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from airfleet.drills.catalogue import Fault
from airfleet.drills.fault_scripts import find_skew
from airfleet.drills.injector import Injector, check
from airfleet.runners.fleet.transport.connection import Output
from machines import Bed, Machine, MachineError

# What is done to one host after another from outside; all else is done inside, to all hosts at once.
OUTSIDE = frozenset({"pull the plug of", "freeze", "cut off", "set ahead the clock of", "set back the clock of"})
# Each is a job of its own for systemd, so what the tasks of a worker need must be named after it.
RESTART = """
units=$(systemctl list-units --plain --no-legend 'airfleet-*.service' | cut -d ' ' -f 1)
systemctl restart $(echo "$units" | grep airfleet-worker- ; echo "$units" | grep -v airfleet-worker-)
"""
RESTART_OTHER = """
unit=airfleet-scheduler.service
if systemctl cat $unit >/dev/null 2>&1; then systemctl try-restart $unit; fi
"""


@dataclass(frozen=True)
class MachineShell:
    """Scripts as root on a test machine, over SSH."""

    machine: Machine

    def run(self, script: str, *, timeout_s: float = 60) -> Output:
        try:
            done = self.machine.run("sudo sh -s", text=script, check=False, timeout_s=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise MachineError(f"{self.machine.name} does not answer") from error
        return Output(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class BedInjector:
    """Uses the bed for power, freezes of hosts and network cables, and scripts for all other faults, as on a fleet."""

    bed: Bed
    inside: Injector

    def inject(self, fault: Fault, hosts: Sequence[str]) -> None:
        if fault.act not in OUTSIDE:
            self.inside.inject(fault, hosts)
            return
        for host in hosts:
            match fault.act:
                case "pull the plug of":
                    self.bed[host].pull_plug()
                case "freeze":
                    self.bed[host].freeze()
                case "cut off":
                    self.bed.partition([host], [one for one in self.bed.layout.names if one != host])
                case "set ahead the clock of" | "set back the clock of":
                    self._set_clock(fault, host, find_skew(fault.act))

    def revert(self, fault: Fault, hosts: Sequence[str]) -> None:
        if fault.act not in OUTSIDE:
            self.inside.revert(fault, hosts)
            return
        for host in hosts:
            match fault.act:
                case "pull the plug of":
                    self.bed[host].power_on()
                    self.bed[host].wait_ready()
                case "freeze":
                    self.bed[host].thaw()
                case "cut off":
                    self.bed.heal()
                case "set ahead the clock of" | "set back the clock of":
                    self._set_clock(fault, host, 0)

    def _set_clock(self, fault: Fault, host: str, skew_s: int) -> None:
        """Restart the services of a host with a shifted clock, because all machines share one kernel clock."""
        self.bed[host].skew_clock(skew_s)
        self._run(host, RESTART)
        if fault.component == "scheduler" and skew_s:
            for other in self.bed.machines:  # so that the one with the wrong clock is the active one again
                if other.name != host:
                    self._run(other.name, RESTART_OTHER)

    def _run(self, host: str, script: str) -> None:
        check(MachineShell(self.bed[host]), script, host, script, timeout_s=240)
