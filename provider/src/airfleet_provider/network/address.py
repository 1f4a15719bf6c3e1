"""Who this host is to the others of its fleet."""

from __future__ import annotations

import os
import socket


def find_address() -> str:
    """The address that fleet.yaml gives this host; Debian's own host name would lead to the loopback."""
    return os.environ.get("AIRFLEET_ADDRESS") or socket.getfqdn()
