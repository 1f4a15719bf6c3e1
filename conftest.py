"""What holds for all tests, those of the examples too."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

# The ports of servers: those below the ones that Linux gives to clients by default.
PORTS = range(10_000, 32_768)
# The last of them are for a process without others beside it: `make test` runs tests/hosts beside tests/local.
ALONE = 4_768


def pytest_configure() -> None:
    """Let tests interrupt themselves and programs, although a script that runs them in the background forbids it.

    What is imported with the tests stays, Airflow among it. To look for garbage in it takes seconds of CPU.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()
    _share_ports()


def pytest_collection_finish() -> None:
    """Look for garbage from now on, but not among what was imported."""
    gc.freeze()
    gc.enable()


def _share_ports() -> None:
    """Give each process of a run ports of its own. A port that two chose at once would fail one of them."""
    first_of_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if first_of_clients < PORTS.stop:
        return
    shared, own = PORTS[:-ALONE], PORTS[-ALONE:]
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        size = len(shared) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        number = int(worker.removeprefix("gw"))
        own = shared[number * size : (number + 1) * size]
    os.environ["AIRFLEET_PORTS"] = f"{own[0]}-{own[-1]}"
