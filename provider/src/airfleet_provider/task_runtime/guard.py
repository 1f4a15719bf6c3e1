"""The guard of a pool of zygotes: starts the pool again when it dies.

An executor's main process starts a guard before any task, and with it a channel that all its supervisors inherit. The
guard, the pool and its zygotes stay below the executor, in its session and its cgroup.

A pool that is forked from the executor serves at once, but each fork of it copies the page tables of all that the
executor has in its memory. So a second pool is started beside it, in a fresh process, and takes over once it is ready.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from setproctitle import setproctitle

from airfleet_provider.contract import fallbacks
from airfleet_provider.contract.fallbacks import Counter
from airfleet_provider.processes import fd_messages, lifecycle
from airfleet_provider.processes.lifecycle import LAST_STANDARD_STREAM
from airfleet_provider.task_runtime import pool_launcher, zygote_pool
from airfleet_provider.task_runtime.eviction import Limits

RESTART_S = 0.5
# `path` first: whatever is imported comes from where the executor's own modules came from.
CODE = (
    "import json, sys; given = json.loads(sys.argv.pop()); "
    "sys.path[:] = given['path']; "
    "from airfleet_provider.task_runtime.guard import main; main(given)"
)


@dataclass(slots=True)
class Guard:
    """The guard below an executor's process, which is there before any task and started anew when it has ended.

    The executor keeps the end of the channel at which the guard and its keeper hear, so that a later guard hears what
    was asked meanwhile. `channel` is the descriptor at which all supervisors that are forked from now on may ask.
    """

    chosen: Limits
    requests: socket.socket
    channel: int
    pid: int
    clock: Callable[[], float] = time.monotonic
    started: float = 0.0

    @classmethod
    def start(cls, chosen: Limits) -> Guard:
        """Start one by a fork of this process, which has no threads yet."""
        ours, theirs = fd_messages.pair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            guard(theirs, chosen)
        return cls(chosen, theirs, ours.detach(), pid)

    def wait(self) -> None:
        """Return when it has ended."""
        _reap(self.pid, 0)

    def revive(self) -> None:
        """Start a new one if it has ended, but not again and again; it is a new program, as this may have threads."""
        now = self.clock()
        if now - self.started >= RESTART_S and _reap(self.pid, os.WNOHANG):
            self.started = now
            self.pid = _start_program(self.requests, self.chosen)
            count_keepers().fell_back("the guard of warm processes ended and was started again")


def _start_program(requests: socket.socket, chosen: Limits) -> int:
    """Start a guard as a program of its own; its pid."""
    number = requests.fileno()
    given = {"requests": number, "limits": asdict(chosen), "path": sys.path}
    environment = {key: value for key, value in os.environ.items() if key != fd_messages.CHANNEL_VARIABLE}
    command = [sys.executable, "-c", CODE, json.dumps(given)]
    # A descriptor that is copied to its own number is inherited.
    return os.posix_spawn(sys.executable, command, environment, file_actions=[(os.POSIX_SPAWN_DUP2, number, number)])


def main(given: Mapping[str, Any]) -> NoReturn:
    """Be a guard that is a program of its own."""
    requests = socket.socket(fileno=given["requests"])
    requests.set_inheritable(False)
    lifecycle.close_others(requests.fileno())
    guard(requests, Limits(**given["limits"]))


def _reap(pid: int, options: int) -> bool:
    """Whether the guard has ended; nobody else reaps it."""
    try:
        return os.waitpid(pid, options)[0] == pid
    except ChildProcessError:
        return True


def count_keepers() -> Counter:
    """How often a keeper had to be started again."""
    return fallbacks.open_counter(fallbacks.WARM_KEEPER, os.environ)


def guard(requests: socket.socket, chosen: Limits) -> NoReturn:
    """Keep a keeper running until it ends because nobody is left who could ask."""
    try:
        setproctitle("airfleet guard of warm processes")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        # A database must see its client end when the executor ends.
        lifecycle.blank_descriptors(lambda number: number <= LAST_STANDARD_STREAM or number == requests.fileno())
        lifecycle.become_subreaper()
        while (code := _run_keeper(requests, chosen)) != 0:
            print(f"airfleet: the keeper of warm processes ended with {code} and is started again", file=sys.stderr)
            count_keepers().fell_back(f"the keeper of warm processes ended with {code} and was started again")
            time.sleep(RESTART_S)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _run_keeper(requests: socket.socket, chosen: Limits) -> int:
    """Run a keeper at once and a lean one that relieves it; the exit code of the last to end."""
    ours, theirs = fd_messages.pair()
    with ours, theirs:
        running = {_fork_keeper(requests, chosen, ours, theirs), pool_launcher.start(requests, chosen, theirs)}
    while True:
        pid, status = os.wait()
        if pid not in running:
            continue  # one that a relieved keeper left
        running.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        if not running:
            return code
        if code == zygote_pool.RELIEVED:
            count_keepers().took_fast()
        elif code:
            count_keepers().fell_back(f"one of two keepers of warm processes ended with {code}")


def _fork_keeper(requests: socket.socket, chosen: Limits, relief: socket.socket, other: socket.socket) -> int:
    keeper = os.fork()
    if keeper == 0:
        code = 1
        try:
            other.close()
            code = zygote_pool.keep(requests, chosen, relief)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return keeper
