"""The processes of one system. The bench starts each in its own session, and ends all of them in any case."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from airfleet.runners.local import ports, processes

PATIENCE_S = 240.0
GRACE_S = 30.0


class Crew:
    """Long-running processes by name. Each gets SIGTERM if the bench itself is killed."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.pids: dict[str, int] = {}

    def start(self, name: str, argv: list[str], env: Mapping[str, str], *, unprivileged: bool = False) -> None:
        """Start one process. Its output goes to a log with its name."""
        log = self.logs / f"{name}.log"
        self.pids[name] = processes.start(tuple(argv), env=env, log=log, unprivileged=unprivileged)

    def run(self, name: str, argv: list[str], env: Mapping[str, str]) -> None:
        """Run a command to its end.

        Raises:
            SystemExit: The command fails; its last lines are shown.
        """
        self.start(name, argv, env)
        code = psutil.Process(self.pids[name]).wait(PATIENCE_S)
        del self.pids[name]
        if code:
            raise SystemExit(f"{' '.join(argv)} failed:\n{self.tail(name)}")

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        """End one process and its whole session."""
        pid = self.pids.pop(name)
        processes.end(_find(pid), grace_s=GRACE_S, first=number)
        processes.end(processes.find_members((pid,)), grace_s=GRACE_S)

    def tail(self, name: str) -> str:
        return "\n".join((self.logs / f"{name}.log").read_text(errors="replace").splitlines()[-20:])

    def check(self) -> None:
        """Check that all processes run.

        Raises:
            SystemExit: A process has ended by itself.
        """
        for name, pid in self.pids.items():
            if not any(process.status() != psutil.STATUS_ZOMBIE for process in _find(pid)):
                raise SystemExit(f"{name} ended by itself:\n{self.tail(name)}")

    def end(self) -> None:
        """End all processes, the last started first."""
        for name in reversed(list(self.pids)):
            self.stop(name, signal.SIGINT if name == "postgres" else signal.SIGTERM)


@contextmanager
def gather(logs: Path) -> Iterator[Crew]:
    """Yield a crew, and end its processes at the end of the block."""
    crew = Crew(logs)
    try:
        yield crew
    finally:
        crew.end()


def _find(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.Error:
        return []


def find_ports(count: int) -> list[int]:
    """Return free ports of the loopback that the kernel does not give to clients."""
    found: set[int] = set()
    while len(found) < count:
        found.add(ports.find_free())
    return list(found)


def wait(condition: Callable[[], bool], what: str, *, crew: Crew | None = None, patience_s: float = PATIENCE_S) -> None:
    """Wait until a condition holds.

    Raises:
        SystemExit: It does not hold after `patience_s` seconds, or a process of the crew has ended.
    """
    deadline = time.monotonic() + patience_s
    while not condition():
        if crew:
            crew.check()
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {patience_s:.0f} s for {what}")
        time.sleep(0.1)


def is_listening(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
