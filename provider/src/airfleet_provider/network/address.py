"""The address that other hosts of the fleet use for this host."""

from __future__ import annotations

import os
import socket

from airfleet_provider.contract import environment


def find_address() -> str:
    """Return this host's address in fleet.yaml, or its host name without a fleet.

    Debian resolves a host's own name to the loopback address, so a fleet cannot use the name.
    """
    return os.environ.get(environment.ADDRESS) or socket.getfqdn()
