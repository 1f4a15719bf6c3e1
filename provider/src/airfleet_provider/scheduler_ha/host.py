"""What a scheduler agent needs from its host: a clock, its identity, and the processes of a session."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from airfleet_provider.contract.process_identity import PROC, read_boot, read_start


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where an agent runs: the name of its seat, and what identifies its processes on this machine."""

    seat: str
    host: str
    machine: str
    session: int
    session_started: int


def read_clock() -> float:
    """Return the seconds since boot, by a clock that never jumps and that continues while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def find_place(seat: str) -> Candidate:
    """Return the place of this process."""
    # Containers on one kernel share its boot id but not its pids, so the pid namespace is part of the name.
    machine = f"{read_boot()}/{(PROC / 'self/ns/pid').stat().st_ino}"
    session = os.getsid(0)
    return Candidate(seat, socket.gethostname(), machine, session, read_start(session) or 0)


def end_session(session: int, started: int | None = None) -> None:
    """Kill every process of a session except this process, and return when they are gone.

    With `started`, kill none if the session's leader started at another time: the kernel has reused the number.
    """
    if started is not None and read_start(session) not in (None, started):
        return
    # Repeat until no process is left, because a process may fork before it is killed.
    while members := list(_list_members(session)):
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _list_members(session: int) -> Iterator[int]:
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            state = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(state[3]) == session and state[0] not in "ZX":
                yield int(entry.name)
