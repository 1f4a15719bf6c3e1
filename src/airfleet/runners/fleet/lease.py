"""The lease: one change of a fleet at a time. It lies on the database host, names its holder, and expires by itself.

Applies from the same project on the same machine are told apart by a lock that dies with its process; they share one
token, so that the lease of an apply that was killed is taken over at once.
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
# In the state folder: who applies from this machine.
CLAIM = "apply.lock"
SECONDS = 60
RENEW_S = 15
TAKEN = 9
SOMEBODY = "somebody applies this fleet"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lease, since when, and how long it still runs if nobody renews it."""

    who: str
    since: str
    left_s: int


def build_script(who: str, token: str) -> str:
    """Return a script that takes or renews the lease by the host's own clock.

    While somebody else holds it, the script exits with `TAKEN`, and `parse_holder` reads who it is.
    """
    return render_script(
        __package__, "take_lease", LEASE=PATH, TOKEN=token, HELD_S=SECONDS, HOLDER=json.dumps(who), TAKEN=TAKEN
    )


def build_release(token: str) -> str:
    """Return a script that lets the lease run out now; what stays tells that there was one."""
    return render_script(__package__, "release_lease", LEASE=PATH, TOKEN=token)


def parse_holder(text: str) -> Holder:
    """Who has it, from what the script said."""
    name, since, left = [*text.splitlines(), "", "", ""][:3]
    return Holder(json.loads(name or '""'), since, int(left or 0))


@contextmanager
def claim(state: Path, who: str, since: str) -> Iterator[str]:
    """Be the only apply of this project on this machine; the token of all of them."""
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
    """Who applies from this machine now, if somebody does; looking keeps nobody from it."""
    path = state / CLAIM
    return (path.read_text().strip() or SOMEBODY) if file_lock.is_taken(path) else None


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease that is held: `lost` is set when it no longer is, `before` is what its last holder left."""

    lost: threading.Event
    before: str


@contextmanager
def hold(
    connection: NamedShell, who: str, token: str, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[HeldLease]:
    """Hold the lease; once it is lost no further step is begun. A connection that breaks does not lose it at once."""
    before = _take(connection, who, token)
    lost, done = threading.Event(), threading.Event()

    def renew() -> None:
        renewed, way = clock(), connection
        while not done.wait(RENEW_S):
            begun = clock()
            try:
                _take(way, who, token)
                renewed = begun
            except HostError:
                # It still runs on the host, and is ours until then: the next try goes over a connection of its own.
                if clock() - renewed > SECONDS - RENEW_S:
                    lost.set()
                    return
                way = _reconnect(way, connection)
            except Exception:  # somebody else has it; or nobody thought of this, and then it is not known to be ours
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
        with suppress(HostError):  # it runs out by itself
            connection.run(build_release(token))


def _reconnect(way: NamedShell, first: NamedShell) -> NamedShell:
    if not isinstance(first, HostConnection):
        return first  # it connects anew by itself
    if isinstance(way, HostConnection) and way is not first:
        way.close()
    another = first.make_another()
    with suppress(HostError):  # then the next renewal fails, and tries again
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
