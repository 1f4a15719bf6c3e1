"""The address by which the other hosts of the fleet know this host."""

from __future__ import annotations

import os
import socket

from airfleet_provider.contract import environment


def find_address() -> str:
    """The address that fleet.yaml gives this host; Debian's own host name would lead to the loopback."""
    return os.environ.get(environment.ADDRESS) or socket.getfqdn()
