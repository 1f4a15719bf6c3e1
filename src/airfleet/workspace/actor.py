"""Who runs a command."""

from __future__ import annotations

import getpass
import socket


def find_actor() -> str:
    """`user@host`, shown to others who find a lease taken, and written to deployments and the hosts' audit logs."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return "unknown"
