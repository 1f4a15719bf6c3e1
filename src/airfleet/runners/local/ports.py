"""TCP ports of this machine."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from pathlib import Path

import psutil

from airfleet.errors import AirfleetError

LOWEST = 10_000
# The first ephemeral port by Linux's default. Other systems have a higher one.
FIRST_EPHEMERAL = 32_768


def find_several(count: int) -> tuple[int, ...]:
    """Return `count` different free ports. A port stays free until a process listens on it."""
    found: list[int] = []
    for _ in range(count):
        found.append(find_free(found))
    return tuple(found)


def find_free(other_than: Collection[int] = ()) -> int:
    """Return a port of the loopback that no process uses, and that the kernel does not give to clients.

    A client's port can stay taken for up to a minute after the client has gone, and a restarting server would fail.

    Raises:
        AirfleetError: No free port was found.
    """
    for port in random.sample(range(LOWEST, _first_ephemeral()), k=100):
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
