"""Shells of hosts for code that runs scripts there: this machine's, a made-up one, and a made-up connection.

tests/unit/runners/fleet/test_shell_contract.py holds them to what shells and connections over SSH do.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from airfleet.runners.fleet.transport.connection import HostError, Output
from airfleet.spec.topology import Host


def name_host(name: str) -> Host:
    """Return a host of this name at an address that does not answer."""
    return Host(name, "192.0.2.1", ())


@dataclass
class MadeUpShell:
    """A host's shell whose answers a function gives. It records its scripts. While `away`, it runs none."""

    answer: Callable[[str], Output | str]
    host: Host = field(default_factory=lambda: name_host("made-up"))
    away: bool = False
    scripts: list[str] = field(default_factory=list)

    def run(self, script: str, *, timeout_s: float = 60) -> Output:
        """Return the function's answer; a text is the output of a successful script. Raises HostError while away."""
        self.scripts.append(script)
        self._reach()
        return _as_output(self._run(script, timeout_s))

    def close(self) -> None:
        """Do nothing, because no connection is open."""

    def _reach(self) -> None:
        if self.away:
            raise HostError("the host does not answer", where=self.host.name, hint="look whether it is up")

    def _run(self, script: str, timeout_s: float) -> Output | str:
        del timeout_s
        return self.answer(script)


def _as_output(said: Output | str) -> Output:
    return Output(0, said, "") if isinstance(said, str) else said


@dataclass
class MadeUpConnection(MadeUpShell):
    """A connection for named work. `perform` gives the answer for a name, and `done` records the names."""

    answer: Callable[[str], Output | str] = lambda _: ""
    perform: Callable[[str], Output | str] = lambda _: ""
    done: list[str] = field(default_factory=list)

    def open(self) -> None:
        """Do nothing. Raises HostError while the host is away."""
        self._reach()

    def check(self, script: str, *, timeout_s: float = 60, data: BinaryIO | None = None, what: str = "") -> str:
        """Return the output of the work. Raises HostError if it failed or the host is away."""
        del script, timeout_s, data
        self.done.append(what)
        self._reach()
        output = _as_output(self.perform(what))
        if output.code:
            cause = (output.err.strip() or output.out.strip()) or f"exit code {output.code}"
            raise HostError(f"{what or 'a command'} failed: {cause}", where=self.host.name, hint="mend it there")
        return output.out


class ShellHere(MadeUpShell):
    """The shell of a host whose scripts run on this machine, as the user of the tests."""

    def __init__(self, *, away: bool = False) -> None:
        super().__init__(lambda _: "", name_host("here"), away)

    def _run(self, script: str, timeout_s: float) -> Output:
        # The same program with the same limit as on a host; the script comes over standard input there, too.
        words = ["timeout", "-k", "5", f"{timeout_s:g}", "sh", "-s"]
        done = subprocess.run(words, input=f"{{\n{script}\n}}\n", capture_output=True, text=True, check=False)
        return Output(done.returncode, done.stdout, done.stderr)
