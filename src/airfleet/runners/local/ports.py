"""TCP ports of this machine."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Collection
from pathlib import Path

import psutil

from airfleet.errors import AirfleetError, UsageError

LOWEST = 10_000
# The environment variable with the first and the last port to choose from.
RANGE = "AIRFLEET_PORTS"
# The first ephemeral port by Linux's default. Other systems have a higher one.
FIRST_EPHEMERAL = 32_768


def find_several(count: int, other_than: Collection[int] = ()) -> tuple[int, ...]:
    """Return `count` different free ports. A port stays free until a process listens on it."""
    found: list[int] = []
    for _ in range(count):
        found.append(find_free((*other_than, *found)))
    return tuple(found)


def find_free(other_than: Collection[int] = ()) -> int:
    """Return a port of the loopback that no process uses, and that the kernel does not give to clients.

    A client's port can stay taken for up to a minute after the client has gone, and a restarting server would fail.
    The environment variable AIRFLEET_PORTS, such as `20000-21999`, names the ports to choose from. With different ones,
    two processes do not choose the same port before one of them listens there.

    Raises:
        AirfleetError: No free port was found, or AIRFLEET_PORTS is no range of ports.
    """
    known = _read_range() or range(LOWEST, _first_ephemeral())
    for port in random.sample(known, k=min(100, len(known))):
        if port in other_than:
            continue
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AirfleetError("no free port was found in a hundred tries", where="127.0.0.1", hint="see: ss -ltn")


def _read_range() -> range | None:
    text = os.environ.get(RANGE)
    if not text:
        return None
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 65_536):
        raise UsageError(f"{text!r} is no range of ports", where=RANGE, hint=f"for example: {RANGE}=20000-21999")
    return range(int(first), int(last) + 1)


def _first_ephemeral() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return FIRST_EPHEMERAL
    return first if first > LOWEST + 1000 else FIRST_EPHEMERAL


def require_free(port: int, *, setting: str) -> None:
    """Make sure that a process can listen on this port of the loopback.

    Raises:
        AirfleetError: The port is taken; the error names the process that has it.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise AirfleetError(
                f"port {port} is taken{describe_owner(port)}",
                where="127.0.0.1",
                hint=f"stop that program, or choose another port: `{setting}` in fleet.yaml",
            ) from error


def describe_owner(port: int) -> str:
    """Return ` by NAME (pid N)` for the process that has a port, or "" if this user may not see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            is_here = connection.laddr and connection.laddr.port == port
            if connection.status == psutil.CONN_LISTEN and is_here and connection.pid:
                process = psutil.Process(connection.pid)
                return f" by {' '.join(process.cmdline())[:60] or process.name()} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""
