"""A keeper in a process that has imported nothing but what tasks need, and so is forked in half the time."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from dataclasses import asdict

from airfleet_provider.processes import fd_messages
from airfleet_provider.runtime.limits import Limits

CODE = "from airfleet_provider.runtime.lean import main; main()"
GUARD = "from airfleet_provider.runtime.lean import guard; guard()"
# Its imports take two seconds of a core, which an executor that starts needs for itself.
AFTER_S = 2.0


def start(requests: socket.socket, chosen: Limits, relief: socket.socket) -> int:
    """Start one, whose first word on `relief` says that it hears `requests` from now on; its pid."""
    given = {"requests": requests.fileno(), "relief": relief.fileno(), "limits": asdict(chosen), "path": sys.path}
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            requests.set_inheritable(True)
            relief.set_inheritable(True)
            os.execv(sys.executable, [sys.executable, "-c", CODE, json.dumps(given)])
        os._exit(1)
    return pid


def start_guard(requests: socket.socket, chosen: Limits) -> int:
    """Start a guard as a program of its own; its pid."""
    number = requests.fileno()
    given = {"requests": number, "limits": asdict(chosen), "path": sys.path}
    environment = {key: value for key, value in os.environ.items() if key != fd_messages.CHANNEL_VARIABLE}
    command = [sys.executable, "-c", GUARD, json.dumps(given)]
    # A descriptor that is copied to its own number is inherited.
    return os.posix_spawn(sys.executable, command, environment, file_actions=[(os.POSIX_SPAWN_DUP2, number, number)])


def guard() -> None:
    """Be a guard."""
    given = json.loads(sys.argv.pop())
    sys.path[:] = given["path"]
    requests = socket.socket(fileno=given["requests"])
    requests.set_inheritable(False)
    _close_others(requests.fileno())
    from airfleet_provider.runtime import keeper  # noqa: PLC0415 - found by the path that was given

    keeper.guard(requests, Limits(**given["limits"]))


def main() -> None:
    """Get ready, relieve the keeper that served meanwhile, and serve."""
    given = json.loads(sys.argv.pop())
    sys.path[:] = given["path"]
    requests, relief = (socket.socket(fileno=given[name]) for name in ("requests", "relief"))
    for one in (requests, relief):
        one.set_inheritable(False)
    _close_others(requests.fileno(), relief.fileno())
    # Imported when it is time: everything in this module is also in the executor's memory.
    time.sleep(AFTER_S)
    from airfleet_provider.runtime import keeper  # noqa: PLC0415

    def relieve() -> None:
        with contextlib.suppress(OSError), relief:
            fd_messages.send(relief, {"ready": True})

    code = keeper.keep(requests, Limits(**given["limits"]), on_ready=relieve)
    sys.stderr.flush()
    os._exit(code)


def _close_others(*kept: int) -> None:
    """Close what the guard only kept the numbers of."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))
