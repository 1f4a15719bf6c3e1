"""Drills of planned operations: run airfleet's commands, while a poller sends requests to the UI."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from airfleet.drills.catalogue import Act, Fault
from airfleet.drills.injector import Injector
from airfleet.errors import AirfleetError
from airfleet.spec.addresses import join_port
from airfleet.spec.fleet import Fleet

ASK_EVERY_S = 0.1
MOST_S = 1800.0
SAID_LINES = 12
# The commands of each operation, in order. A command with {host} runs for each host.
COMMANDS: Mapping[Act, tuple[tuple[str, ...], ...]] = {
    "roll": (("apply", "--restart"),),
    "upgrade": (("upgrade", "--back", "--yes"), ("upgrade", "--yes")),
    "drain": (
        ("workers", "drain", "{host}", "--timeout", "600"),
        ("workers", "resume", "{host}"),
    ),
    "restore": (("db", "restore", "--to", "latest", "--yes"),),
    "switch over": (("failover", "--database"),),
}
# During these operations, no request to the UI may fail.
UNSEEN: frozenset[Act] = frozenset({"roll", "upgrade", "drain"})


@dataclass(slots=True)
class Poller:
    """Requests a page through the balancer all the time, each time with a new connection."""

    url: str
    asked: int = 0
    failed: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Poller:
        self._over.clear()
        self._thread = threading.Thread(target=self._ask, name="poller", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(ASK_EVERY_S):
            self.asked += 1
            try:
                httpx.get(self.url, timeout=30, verify=False).raise_for_status()  # noqa: S501 - the certificate may be self-signed
            except httpx.HTTPError as error:
                self.failed.append(f"{time.strftime('%H:%M:%S')} {error or type(error).__name__}")


@dataclass(slots=True)
class OperatorInjector:
    """An injector that runs the commands of operations, and leaves faults to the injector `inside`."""

    inside: Injector
    project: Path
    state: Path | None
    poller: Poller
    notify: Callable[[str], None]

    def inject(self, fault: Fault, hosts: Sequence[str]) -> None:
        if fault.act not in COMMANDS:
            self.inside.inject(fault, hosts)
            return
        self.poller.asked, self.poller.failed = 0, []
        with self.poller if fault.act in UNSEEN else nullcontext():
            for words in list_commands(fault.act, hosts):
                self._run(words)

    def revert(self, fault: Fault, hosts: Sequence[str]) -> None:
        if fault.act not in COMMANDS:
            self.inside.revert(fault, hosts)

    def list_broken(self) -> tuple[str, ...]:
        """Return a line if requests to the UI failed during the last operation."""
        failed, asked = self.poller.failed, self.poller.asked
        return (f"{len(failed)} of {asked} requests to the UI failed, the first {failed[0]}",) if failed else ()

    def _run(self, words: Sequence[str]) -> None:
        self.notify(f"airfleet {' '.join(words)}")
        run_command(words, self.project, self.state)


def run_command(words: Sequence[str], project: Path, state: Path | None) -> None:
    """Run one of airfleet's commands.

    Raises:
        AirfleetError: The command fails; the error holds its output.
    """
    kept = ("--state", str(state)) if state else ()
    done = subprocess.run(
        # -P: no module of the project takes the place of one of Python's.
        [sys.executable, "-P", "-m", "airfleet", *words, *kept],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=MOST_S,
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-SAID_LINES:])
        message = f"airfleet {' '.join(words)} ended with {done.returncode}:\n{said}"
        raise AirfleetError(message, hint="the fleet is as that command left it")


def list_commands(act: Act, hosts: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the commands of an operation. A command with a host is repeated for each host."""
    commands = COMMANDS[act]
    if not any("{host}" in words for words in commands):
        return list(commands)
    return [tuple(host if word == "{host}" else word for word in words) for host in hosts for words in commands]


def find_page(fleet: Fleet) -> str:
    """Return the URL of a page of the UI at the first balancer."""
    edge = (fleet.with_role("balancer") or fleet.with_role("web"))[0]
    return f"{'https' if fleet.tls else 'http'}://{join_port(edge.address, fleet.ports.api)}/api/v2/version"
