"""TCP ports of this machine."""

from __future__ import annotations

import socket

import psutil

from airfleet.errors import AirfleetError


def find_free() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


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
