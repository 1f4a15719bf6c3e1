"""Shells of hosts, for what runs scripts there: one of this machine, and one that is made up.

tests/unit/runners/fleet/test_shell_contract.py holds both to what a shell over SSH does.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

from airfleet.runners.fleet.transport.connection import HostError, Output
from airfleet.spec.topology import Host


def name_host(name: str) -> Host:
    """A host of this name, at an address where nobody answers."""
    return Host(name, "192.0.2.1", ())


@dataclass
class MadeUpShell:
    """The shell of a host that answers from a function, and notes which scripts it was given; `away`, it runs none."""

    answer: Callable[[str], Output | str]
    host: Host = field(default_factory=lambda: name_host("made-up"))
    away: bool = False
    scripts: list[str] = field(default_factory=list)

    def run(self, script: str, *, timeout_s: float = 60) -> Output:
        """What the function answers; a text is the output of a script that ended well. Raises HostError when away."""
        self.scripts.append(script)
        if self.away:
            raise HostError("the host does not answer", where=self.host.name, hint="look whether it is up")
        said = self._run(script, timeout_s)
        return Output(0, said, "") if isinstance(said, str) else said

    def _run(self, script: str, timeout_s: float) -> Output | str:
        del timeout_s
        return self.answer(script)


class ShellHere(MadeUpShell):
    """The shell of a host whose scripts run on this machine, as the user of the tests."""

    def __init__(self, *, away: bool = False) -> None:
        super().__init__(lambda _: "", name_host("here"), away)

    def _run(self, script: str, timeout_s: float) -> Output:
        # The same program with the same limit as on a host; the script comes over standard input there, too.
        words = ["timeout", "-k", "5", f"{timeout_s:g}", "sh", "-s"]
        done = subprocess.run(words, input=f"{{\n{script}\n}}\n", capture_output=True, text=True, check=False)
        return Output(done.returncode, done.stdout, done.stderr)
