"""Starts a lean zygote pool in a fresh process: it imports only what tasks need, and so forks twice as fast."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from dataclasses import asdict

from airfleet_provider.processes import fd_messages, iri_grammar, lifecycle
from airfleet_provider.task_runtime.eviction import ZygoteLimits

CODE = "from airfleet_provider.task_runtime.pool_launcher import main; main()"
# The imports take two seconds of CPU. Wait for so long first, because the starting executor needs the CPU itself.
AFTER_S = 2.0


def start(requests: socket.socket, chosen: ZygoteLimits, relief: socket.socket) -> int:
    """Start a lean pool and return its pid.

    The pool's first message on `relief` says that it receives `requests` from now on.
    """
    given = {"requests": requests.fileno(), "relief": relief.fileno(), "limits": asdict(chosen), "path": sys.path}
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            requests.set_inheritable(True)
            relief.set_inheritable(True)
            # -P: no module of the folder in which the executor runs takes the place of another.
            os.execv(sys.executable, [sys.executable, "-P", "-c", CODE, json.dumps(given)])
        os._exit(1)
    return pid


def main() -> None:
    """Get ready, take over from the forked pool, and serve."""
    given = json.loads(sys.argv.pop())
    sys.path[:] = given["path"]
    requests, relief = (socket.socket(fileno=given[name]) for name in ("requests", "relief"))
    for one in (requests, relief):
        one.set_inheritable(False)
    lifecycle.close_others(requests.fileno(), relief.fileno())
    # Imported here because the executor imports this module too, and would have these modules in its memory.
    time.sleep(AFTER_S)
    iri_grammar.defer()
    from airfleet_provider.task_runtime import zygote_pool  # noqa: PLC0415

    def relieve() -> None:
        with contextlib.suppress(OSError), relief:
            fd_messages.send(relief, {"ready": True})

    code = zygote_pool.keep(requests, ZygoteLimits(**given["limits"]), on_ready=relieve)
    sys.stderr.flush()
    os._exit(code)
