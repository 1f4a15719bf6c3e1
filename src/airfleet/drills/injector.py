"""The actions of a drill on hosts, through root shells: inject a fault, revert it, read clocks and attempt logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from airfleet.drills import fault_scripts
from airfleet.drills.attempt_log import Clocks
from airfleet.drills.catalogue import Fault
from airfleet.errors import AirfleetError
from airfleet.runners.fleet.transport.shell import Shell

_CLOCKS = "cat /proc/sys/kernel/random/boot_id /proc/uptime; date +%s.%N"
_SAMPLES = 5
_END = "end-of-ledger"
T = TypeVar("T")


class Injector(Protocol):
    """Injects faults into hosts, and reverts them."""

    def inject(self, fault: Fault, hosts: Sequence[str]) -> None: ...
    def revert(self, fault: Fault, hosts: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class ShellInjector:
    """An injector for any fleet. It uses the systemd and the firewall of the hosts."""

    shells: Mapping[str, Shell]
    ssh_port: int = 22
    grace_s: float = fault_scripts.GRACE_S

    def inject(self, fault: Fault, hosts: Sequence[str]) -> None:
        """Inject a fault into all these hosts in parallel."""
        script = self._write(fault).inject
        on_each(lambda host: check(self.shells[host], script, host, str(fault)), hosts)

    def revert(self, fault: Fault, hosts: Sequence[str]) -> None:
        """Revert a fault. If it needs no revert, nothing is done."""
        if script := self._write(fault).revert:
            on_each(lambda host: check(self.shells[host], script, host, f"reverting: {fault}"), hosts)

    def _write(self, fault: Fault) -> fault_scripts.Scripts:
        return fault_scripts.write_scripts(fault, ssh_port=self.ssh_port, grace_s=self.grace_s)


def check(shell: Shell, script: str, host: str, what: str, *, timeout_s: float = 60) -> str:
    """Run a script and return its output. `what` names it in errors.

    Raises:
        AirfleetError: The host does not answer, or the script fails.
    """
    done = shell.run(script, timeout_s=timeout_s)
    if done.code:
        said = (done.err or done.out).strip().splitlines()
        reason = said[-1] if said else f"exit code {done.code}"
        raise AirfleetError(f"{what}: {reason}", where=host, hint="check that host: journalctl -p err -n 20")
    return done.out


def read_clocks(shells: Mapping[str, Shell], clock: Callable[[], float]) -> Clocks:
    """Compare every host's clocks with the drill's. Of several samples, the one with the shortest round trip counts."""
    booted, ahead, unsure = {}, {}, 0.0
    samples = on_each(lambda host: _read_clock(shells[host], host, clock), tuple(shells))
    for host, (boot, zero, host_ahead, host_unsure) in zip(shells, samples, strict=True):
        booted[boot], ahead[host] = zero, host_ahead
        unsure = max(unsure, host_unsure)
    return Clocks(booted, ahead, unsure)


def read_attempts(shells: Mapping[str, Shell], folder: str) -> tuple[str, ...]:
    """Return every line of the attempt logs of all hosts.

    Raises:
        AirfleetError: A host does not answer, or its log is incomplete: missing lines would count as lost work.
    """
    script = f"cat {folder}/ledger.jsonl 2>/dev/null; echo {_END}"

    def read(host: str) -> list[str]:
        lines = check(shells[host], script, host, "reading the attempt log", timeout_s=120).splitlines()
        if lines[-1:] != [_END]:
            raise AirfleetError(
                "the attempt log is incomplete", where=host, hint="check the network between this machine and the host"
            )
        return lines[:-1]

    return tuple(line for lines in on_each(read, tuple(shells)) for line in lines)


def on_each(do: Callable[[str], T], hosts: Sequence[str]) -> list[T]:
    """Call a function for all hosts in parallel. When all have ended, raise the first error, if there is one."""
    with ThreadPoolExecutor(max_workers=max(1, len(hosts))) as pool:
        return [one.result() for one in [pool.submit(do, host) for host in hosts]]


def _read_clock(shell: Shell, host: str, clock: Callable[[], float]) -> tuple[str, float, float, float]:
    best = None
    for _ in range(_SAMPLES):
        before = clock()
        boot, uptime, wall = check(shell, _CLOCKS, host, "reading the clock").splitlines()
        after = clock()
        middle, unsure = (before + after) / 2, (after - before) / 2
        if best is None or unsure < best[3]:
            best = (boot.strip(), middle - float(uptime.split()[0]), float(wall) - middle, unsure)
    assert best is not None  # noqa: S101 - there is more than one sample
    return best
