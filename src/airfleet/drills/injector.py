"""What a drill does on hosts: inject a fault, revert it, read clocks and ledgers; all through shells as root."""

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
    """Injects faults into a fleet's hosts."""

    def inject(self, fault: Fault, hosts: Sequence[str]) -> None: ...
    def revert(self, fault: Fault, hosts: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class ShellInjector:
    """Works on any fleet, through the hosts' own systemd and firewall."""

    shells: Mapping[str, Shell]
    ssh_port: int = 22
    grace_s: float = fault_scripts.GRACE_S

    def inject(self, fault: Fault, hosts: Sequence[str]) -> None:
        """Inject a fault into all these hosts at once."""
        script = self._write(fault).inject
        on_each(lambda host: check(self.shells[host], script, host, str(fault)), hosts)

    def revert(self, fault: Fault, hosts: Sequence[str]) -> None:
        """Revert a fault; nothing is done where it needs no reverting."""
        if script := self._write(fault).revert:
            on_each(lambda host: check(self.shells[host], script, host, f"reverting: {fault}"), hosts)

    def _write(self, fault: Fault) -> fault_scripts.Scripts:
        return fault_scripts.write_scripts(fault, ssh_port=self.ssh_port, grace_s=self.grace_s)


def check(shell: Shell, script: str, host: str, what: str, *, timeout_s: float = 60) -> str:
    """What a script said; AirfleetError unless it ended well."""
    done = shell.run(script, timeout_s=timeout_s)
    if done.code:
        said = (done.err or done.out).strip().splitlines()
        reason = said[-1] if said else f"exit code {done.code}"
        raise AirfleetError(f"{what}: {reason}", where=host, hint="look at that host: journalctl -p err -n 20")
    return done.out


def read_clocks(shells: Mapping[str, Shell], clock: Callable[[], float]) -> Clocks:
    """How every host's clocks stand to the drill's: of some samples each, the one that was quickest to come."""
    booted, ahead, unsure = {}, {}, 0.0
    samples = on_each(lambda host: _read_clock(shells[host], host, clock), tuple(shells))
    for host, (boot, zero, host_ahead, host_unsure) in zip(shells, samples, strict=True):
        booted[boot], ahead[host] = zero, host_ahead
        unsure = max(unsure, host_unsure)
    return Clocks(booted, ahead, unsure)


def read_attempts(shells: Mapping[str, Shell], folder: str) -> tuple[str, ...]:
    """Every line that any host's tasks wrote; a text without its end is an error, as it would count as lost work."""
    script = f"cat {folder}/ledger.jsonl 2>/dev/null; echo {_END}"

    def read(host: str) -> list[str]:
        lines = check(shells[host], script, host, "reading the ledger", timeout_s=120).splitlines()
        if lines[-1:] != [_END]:
            raise AirfleetError("the ledger came without its end", where=host, hint="look at the network in between")
        return lines[:-1]

    return tuple(line for lines in on_each(read, tuple(shells)) for line in lines)


def on_each(do: Callable[[str], T], hosts: Sequence[str]) -> list[T]:
    """Do something for all hosts at once; the first error, after all have ended."""
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
