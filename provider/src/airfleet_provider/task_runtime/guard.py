"""The guard of a zygote pool: starts the pool again after the pool died.

An executor's main process starts the guard before any task, and with it a channel that all its supervisors inherit.
The guard, the pool and its zygotes are descendants of the executor, in its session and its cgroup. A pool that is a
fork of the task image, on one machine, is none: it has a session of its own, which ends with the executor's.

A pool that is forked from the executor serves at once. But each of its forks copies the page tables of all memory that
the executor uses. So the guard starts a second, lean pool in a fresh process. The lean pool takes over once it is
ready. On one machine the lean pool is a fork of the task image, and the only one.
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
from airfleet_provider.task_runtime.eviction import ZygoteLimits

RESTART_S = 0.5
# After so many pools in turn that did not live this long, the next is no fork of the task image.
FORK_TRIES, SHORT_S = 3, 30.0
# `path` comes first, so that the guard imports all modules from the same places as the executor.
CODE = (
    "import json, sys; given = json.loads(sys.argv.pop()); "
    "sys.path[:] = given['path']; "
    "from airfleet_provider.task_runtime.guard import main; main(given)"
)


@dataclass(slots=True)
class Guard:
    """The executor's view of its guard, which starts before any task, and starts again after it has ended.

    The executor keeps the receiving end of the channel open. So a new guard receives the requests that supervisors
    sent while no guard ran. `channel` is the descriptor on which supervisors send requests; those that the executor
    forks from now on inherit it.
    """

    chosen: ZygoteLimits
    requests: socket.socket
    channel: int
    pid: int
    clock: Callable[[], float] = time.monotonic
    started: float = 0.0

    @classmethod
    def start(cls, chosen: ZygoteLimits) -> Guard:
        """Start a guard as a fork of this process, which must not have threads yet."""
        ours, theirs = fd_messages.pair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            guard(theirs, chosen)
        return cls(chosen, theirs, ours.detach(), pid)

    def wait(self) -> None:
        """Return when the guard has ended."""
        _reap(self.pid, 0)

    def revive(self) -> None:
        """Start the guard again if it has ended, at most every `RESTART_S` seconds.

        The new guard is a program of its own and not a fork, because this process may have threads by now.
        """
        now = self.clock()
        if now - self.started >= RESTART_S and _reap(self.pid, os.WNOHANG):
            self.started = now
            self.pid = _start_program(self.requests, self.chosen)
            count_keepers().fell_back("the guard of warm processes ended and was started again")


def _start_program(requests: socket.socket, chosen: ZygoteLimits) -> int:
    """Start a guard as a program of its own; return its pid."""
    number = requests.fileno()
    given = {"requests": number, "limits": asdict(chosen), "path": sys.path}
    environment = {key: value for key, value in os.environ.items() if key != fd_messages.CHANNEL_VARIABLE}
    # -P: no module of the folder in which this process runs takes the place of another.
    command = [sys.executable, "-P", "-c", CODE, json.dumps(given)]
    # Copying a descriptor to its own number makes the new program inherit it.
    return os.posix_spawn(sys.executable, command, environment, file_actions=[(os.POSIX_SPAWN_DUP2, number, number)])


def main(given: Mapping[str, Any]) -> NoReturn:
    """Run a guard as a program of its own."""
    requests = socket.socket(fileno=given["requests"])
    requests.set_inheritable(False)
    lifecycle.close_others(requests.fileno())
    guard(requests, ZygoteLimits(**given["limits"]))


def _reap(pid: int, options: int) -> bool:
    """Return whether the guard has ended; with `options` 0, wait for its end. Only this function reaps the guard."""
    try:
        return os.waitpid(pid, options)[0] == pid
    except ChildProcessError:
        return True


def count_keepers() -> Counter:
    """Return the counter of zygote pools: lean pools that took over, and guards or pools that ended."""
    return fallbacks.open_counter(fallbacks.WARM_KEEPER, os.environ)


def guard(requests: socket.socket, chosen: ZygoteLimits) -> NoReturn:
    """Run the zygote pool, and run it again until it exits with 0, because no process is left that could send requests.

    Never returns.
    """
    try:
        setproctitle("airfleet guard of warm processes")
        lifecycle.ignore_signals()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        # The guard must not hold the executor's connections open: a database must see them end with the executor.
        lifecycle.blank_descriptors(lambda number: number <= LAST_STANDARD_STREAM or number == requests.fileno())
        lifecycle.become_subreaper()
        failures = 0
        while True:
            began = time.monotonic()
            if not (code := _run_keeper(requests, chosen, may_fork=failures < FORK_TRIES)):
                break
            failures = failures + 1 if time.monotonic() - began < SHORT_S else 0
            print(f"airfleet: the zygote pool ended with exit code {code}, starting it again", file=sys.stderr)
            count_keepers().fell_back(f"the zygote pool ended with exit code {code} and was started again")
            time.sleep(RESTART_S)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _run_keeper(requests: socket.socket, chosen: ZygoteLimits, *, may_fork: bool) -> int:
    """Run a zygote pool to its end, and return its exit code.

    Where there is a task image, the pool is a fork of it. Elsewhere a fork of this process serves at once, until a lean
    pool relieves it; then the code is that of the last to end that was not relieved: a lean pool may end sooner.
    """
    if may_fork and (forked := pool_launcher.fork(requests, chosen)):
        count_keepers().took_fast()
        forked.wait()
        # A pool that is no child of this process leaves no exit code. What its zygotes hold, it cannot answer for.
        return 0 if pool_launcher.is_deserted(requests) else 1
    ours, theirs = fd_messages.pair()
    with ours, theirs:
        running = {_fork_keeper(requests, chosen, ours, theirs), pool_launcher.start(requests, chosen, theirs)}
    outcome = 1
    while running:
        pid, status = os.wait()
        if pid not in running:
            continue  # a process that the relieved pool left behind
        running.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        if code == zygote_pool.RELIEVED:
            count_keepers().took_fast()
        else:
            outcome = code
            if code and running:
                count_keepers().fell_back(f"one of the two zygote pools ended with exit code {code}")
    return outcome


def _fork_keeper(requests: socket.socket, chosen: ZygoteLimits, relief: socket.socket, other: socket.socket) -> int:
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
