"""Starts a lean zygote pool, which has imported only what tasks need, and so forks twice as fast.

On one machine it is a fork of the task image. Elsewhere it is a program of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from airfleet_provider.contract import environment, fallbacks
from airfleet_provider.contract.fork_protocol import TASK_SETTINGS
from airfleet_provider.processes import fd_messages, huge_pages, image_client, iri_grammar, lifecycle
from airfleet_provider.processes.image_client import ForkedProgram
from airfleet_provider.task_runtime.eviction import ZygoteLimits

CODE = "from airfleet_provider.task_runtime.pool_launcher import main; main()"
# The imports take two seconds of CPU. Wait for so long first, because the starting executor needs the CPU itself.
AFTER_S = 2.0
# The name of this kind of process at the task image.
KIND = "zygote-pool"


def fork(requests: socket.socket, chosen: ZygoteLimits) -> ForkedProgram | None:
    """Let the task image fork a lean pool, which receives `requests`. Return None if it cannot."""
    home = Path(os.environ.get("AIRFLOW_HOME", ""))
    if not (home / TASK_SETTINGS).exists():
        return None
    if obstacle := _find_obstacle(home):
        fallbacks.open_counter(fallbacks.TASK_IMAGE, os.environ).fell_back(f"{KIND}: {obstacle}", expected=True)
        return None
    return image_client.fork(KIND, {"limits": asdict(chosen)}, [requests.fileno()], env=dict(os.environ))


def _find_obstacle(home: Path) -> str | None:
    if environment.ONE_SESSION in os.environ:
        return "a scheduler with a standby keeps its tasks in its session"
    from airfleet_provider.compat.calls import settings_switch  # noqa: PLC0415 - only a platform on one machine needs it

    settings = Path(os.environ.get("AIRFLOW_CONFIG") or home / "airflow.cfg")
    return settings_switch.find_obstacle(home / TASK_SETTINGS, settings, os.environ)


def is_deserted(requests: socket.socket) -> bool:
    """Return whether no supervisor is left that could send requests."""
    try:
        return not requests.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def main_of_fork(given: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Be a zygote pool, as a fork of the task image: get the settings of the executor first."""
    from airfleet_provider.compat.calls import settings_switch  # noqa: PLC0415 - the guard imports this module too
    from airfleet_provider.compat.patches.patch import change_constants  # noqa: PLC0415
    from airfleet_provider.task_runtime import zygote_pool  # noqa: PLC0415

    requests = socket.socket(fileno=descriptors[0])
    lifecycle.ignore_signals()
    settings_switch.switch(change_constants)
    zygote_pool.keep(requests, ZygoteLimits(**given["limits"]))


def start(requests: socket.socket, chosen: ZygoteLimits, relief: socket.socket) -> int:
    """Start a lean pool as a program, and return its pid.

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
    lifecycle.hide_memory()  # a task that changed this process now would get the tokens that it receives later
    given = json.loads(sys.argv.pop())
    sys.path[:] = given["path"]
    requests, relief = (socket.socket(fileno=given[name]) for name in ("requests", "relief"))
    for one in (requests, relief):
        one.set_inheritable(False)
    lifecycle.close_others(requests.fileno(), relief.fileno())
    # Imported here because the executor imports this module too, and would have these modules in its memory.
    time.sleep(AFTER_S)
    iri_grammar.defer()
    from airfleet_provider.compat.patches import prefork, rehearsal, task_source  # noqa: PLC0415

    task_source.defer()
    from airfleet_provider.task_runtime import zygote_pool  # noqa: PLC0415

    prefork.import_modules()
    prefork.keep_parts()
    rehearsal.gather_code()

    def relieve() -> None:
        huge_pages.join_pages()
        with contextlib.suppress(OSError), relief:
            fd_messages.send(relief, {"ready": True})

    code = zygote_pool.keep(requests, ZygoteLimits(**given["limits"]), on_ready=relieve)
    sys.stderr.flush()
    os._exit(code)
