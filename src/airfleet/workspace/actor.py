"""The person who runs a command."""

from __future__ import annotations

import getpass
import socket


def find_actor() -> str:
    """Return `user@host`, or "unknown". Leases, deployments and the audit logs of hosts record this name."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return "unknown"
