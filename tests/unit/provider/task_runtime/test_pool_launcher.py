"""A lean pool hides its memory from its first moment: while it gets ready, tasks of its user run already."""

from __future__ import annotations

import subprocess
import sys

from deadline import COMMAND_S

PROGRAM = """
import json
import socket
import sys
import time

from airfleet_provider.processes import lifecycle
from airfleet_provider.task_runtime import pool_launcher


def show(_):
    print(lifecycle._prctl(lifecycle.PR_GET_DUMPABLE))
    raise SystemExit


(requests, _), (relief, _) = socket.socketpair(), socket.socketpair()
time.sleep = show
sys.argv.append(
    json.dumps({"requests": requests.fileno(), "relief": relief.fileno(), "limits": {}, "path": sys.path})
)
pool_launcher.main()
"""


def test_a_lean_pool_that_gets_ready_has_hidden_its_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=COMMAND_S
    )
    assert done.stdout == "0\n"
