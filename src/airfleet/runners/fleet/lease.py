"""The apply lease: it allows one change of a fleet at a time. It is a file on the database host that expires.

Commands of one project on one machine exclude each other by a file lock, which the kernel releases with its process.
They share one token. So the next command takes over the lease of a killed one at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from airfleet.errors import AirfleetError
from airfleet.runners.fleet.transport.connection import HostConnection, HostError
from airfleet.runners.fleet.transport.shell import NamedShell
from airfleet.shell_script import render_script
from airfleet.workspace import file_lock

PATH = "/var/lib/airfleet/lease"
# The lock in the state folder. It contains who changes the fleet from this machine.
CLAIM = "apply.lock"
SECONDS = 60
RENEW_S = 15
TAKEN = 9
SOMEBODY = "another command applies this fleet"


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """The holder of the lease, the time since when, and the seconds until the lease expires without renewal."""

    who: str
    since: str
    left_s: int


def build_script(who: str, token: str) -> str:
    """Return the script that takes or renews the lease, by the host's clock.

    If another command holds the lease, the script exits with `TAKEN`, and `parse_holder` reads its output.
    """
    return render_script(
        __package__, "take_lease", LEASE=PATH, TOKEN=token, HELD_S=SECONDS, HOLDER=json.dumps(who), TAKEN=TAKEN
    )


def build_release(token: str) -> str:
    """Return the script that ends the lease now. The file remains, so that a survey sees that there was a change."""
    return render_script(__package__, "release_lease", LEASE=PATH, TOKEN=token)


def parse_holder(text: str) -> LeaseHolder:
    """Return the holder from the output of the script of `build_script`."""
    name, since, left = [*text.splitlines(), "", "", ""][:3]
    return LeaseHolder(json.loads(name or '""'), since, int(left or 0))


@contextmanager
def claim(state: Path, who: str, since: str) -> Iterator[str]:
    """Hold the lock of this project on this machine, and yield the token of the project.

    Raises:
        AirfleetError: Another command of this project holds the lock.
    """
    with (state / CLAIM).open("a+") as file:
        try:
            file_lock.take(file.fileno())
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or SOMEBODY
            raise AirfleetError(
                holder, where=str(state.parent), hint="wait for it to end, or end that process"
            ) from None
        file.truncate(0)
        file.write(f"{who} (pid {os.getpid()}) applies this fleet since {since}")
        file.flush()
        yield hashlib.sha256(f"{socket.gethostname()} {state.resolve()}".encode()).hexdigest()[:16]


def find_claim(state: Path) -> str | None:
    """Return who changes the fleet from this machine now, or None. The check does not keep others from the lock."""
    path = state / CLAIM
    return (path.read_text().strip() or SOMEBODY) if file_lock.is_taken(path) else None


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease that is held. `lost` is set when it is lost. `before` is what its last holder left in the file."""

    lost: threading.Event
    before: str


@contextmanager
def hold(
    connection: NamedShell,
    who: str,
    token: str,
    *,
    lost: threading.Event | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[HeldLease]:
    """Hold the lease, and renew it in a thread. A broken connection loses the lease only when it expires on the host.

    Several leases may share one `lost`.

    Raises:
        AirfleetError: Another command holds the lease, or the host does not answer.
    """
    before = _take(connection, who, token)
    lost, done = lost or threading.Event(), threading.Event()

    def renew() -> None:
        renewed, way = clock(), connection
        while not done.wait(RENEW_S):
            begun = clock()
            try:
                _take(way, who, token)
                renewed = begun
            except HostError:
                # The lease is valid until it expires on the host. The next attempt uses a new connection.
                if clock() - renewed > SECONDS - RENEW_S:
                    lost.set()
                    return
                way = _reconnect(way, connection)
            except Exception:  # another command has the lease, or an unexpected error leaves that unknown
                lost.set()
                return
        if isinstance(way, HostConnection) and way is not connection:
            way.close()

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield HeldLease(lost, before)
    finally:
        done.set()
        thread.join()
        with suppress(HostError):  # the lease expires by itself
            connection.run(build_release(token))


def _reconnect(way: NamedShell, first: NamedShell) -> NamedShell:
    if not isinstance(first, HostConnection):
        return first  # this kind of shell reconnects by itself
    if isinstance(way, HostConnection) and way is not first:
        way.close()
    another = first.make_another()
    with suppress(HostError):  # on an error, the next renewal fails and reconnects again
        another.open()
    return another


def _take(connection: NamedShell, who: str, token: str) -> str:
    output = connection.run(build_script(who, token), timeout_s=20)
    if output.code == TAKEN:
        holder = parse_holder(output.out)
        raise AirfleetError(
            f"{holder.who} applies this fleet since {holder.since}",
            where=connection.host.name,
            hint=f"wait for it to end; if it died, its lease runs out in {holder.left_s} s",
        )
    if output.code:
        raise HostError(f"cannot take the lease: {output.err.strip()}", where=connection.host.name)
    return output.out.strip()
