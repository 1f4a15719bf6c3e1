"""TCP ports of this machine."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from pathlib import Path

import psutil

from airfleet.errors import AirfleetError

LOWEST = 10_000
# Linux's own default, and below that of every other system.
FIRST_EPHEMERAL = 32_768


def find_several(count: int) -> tuple[int, ...]:
    """As many ports, each another one: one that was just found is as free as before until somebody listens there."""
    found: list[int] = []
    for _ in range(count):
        found.append(find_free(found))
    return tuple(found)


def find_free(other_than: Collection[int] = ()) -> int:
    """A port of the loopback that nobody uses now, and that the kernel gives to no client meanwhile.

    A server that restarts would find a client's port taken, up to a minute after that client has gone.
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
    """Raise AirfleetError, naming who has it, unless the loopback port can be listened on."""
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
    """` by NAME (pid N)` where this user may see it, else nothing."""
    try:
        for connection in psutil.net_connections("tcp"):
            is_here = connection.laddr and connection.laddr.port == port
            if connection.status == psutil.CONN_LISTEN and is_here and connection.pid:
                process = psutil.Process(connection.pid)
                return f" by {' '.join(process.cmdline())[:60] or process.name()} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""
