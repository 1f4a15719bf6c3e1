"""The keeper of warm processes: it hands each request for a task to the one that has loaded its Dag file.

An executor's main process starts a guard before any task, and with it a channel that all its supervisors inherit. The
guard does nothing but start the keeper again when it dies. All stay below the executor: in its session and cgroup.

A keeper that is forked from the executor serves at once, but each fork of it copies the page tables of all that the
executor has in its memory. So a lean one is started anew beside it, and relieves it as soon as it is ready.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from setproctitle import setproctitle

from airfleet_provider.compat import groundwork
from airfleet_provider.compat import runtime as compat
from airfleet_provider.contract import fallbacks
from airfleet_provider.contract.fallbacks import Counter
from airfleet_provider.processes import fd_messages, oom_priority
from airfleet_provider.processes.fd_messages import PoolKey
from airfleet_provider.runtime import lean, limits, warm
from airfleet_provider.runtime.limits import Limits, Record
from airfleet_provider.runtime.witness import is_fresh

PR_SET_CHILD_SUBREAPER = 36
RESTART_S = 0.5
# The exit code of a keeper that another one has relieved.
RELIEVED = 3
# A file in a folder may be mended; a release cannot change.
REMEMBER_S = 60.0
# What failed for a reason that is not the file's own is tried again soon.
RETRY_S = 5.0


@dataclass(slots=True)
class Warm:
    """One warm process, from the keeper's side."""

    control: socket.socket
    record: Record
    watched: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Keeper:
    """Routes requests to warm processes, starts those that are missing and lets go of those that are too many."""

    requests: socket.socket
    limits: Limits
    log: int
    relief: socket.socket | None = None
    is_relieved: bool = False
    clock: Callable[[], float] = time.monotonic
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    homes: dict[PoolKey, Warm] = field(default_factory=dict)
    refusals: dict[PoolKey, tuple[str, float]] = field(default_factory=dict)

    def serve(self) -> None:
        """Returns when every supervisor has gone, or another keeper hears them from now on."""
        self.selector.register(self.requests, selectors.EVENT_READ, self._hear_supervisor)
        if self.relief:
            self.selector.register(self.relief, selectors.EVENT_READ, self._hear_relief)
        while self.requests.fileno() >= 0 and not self.is_relieved:
            for key, _ in self.selector.select(self.limits.age_s if self.homes else None):
                key.data()
            _reap_all()
            self._let_go_surplus()
        for home in list(self.homes):
            self._let_go(home)

    def _hear_relief(self) -> None:
        if self.relief:
            message, _ = fd_messages.receive(self.relief)
            self.is_relieved = message is not None  # or else the other one died before it was ready
            self.selector.unregister(self.relief)
            self.relief.close()

    def _hear_supervisor(self) -> None:
        message, descriptors = fd_messages.receive(self.requests)
        if message is None:
            self.selector.unregister(self.requests)
            self.requests.close()
            return
        home = PoolKey(message["bundle"], message["version"], message["path"])
        reason = self._find_refusal(home) or self._hand_on(home, message, descriptors)
        if reason:
            warm.refuse(descriptors, reason)
        else:
            for descriptor in descriptors:
                os.close(descriptor)

    def _find_refusal(self, home: PoolKey) -> str | None:
        reason, until = self.refusals.get(home, (None, 0.0))
        if reason and self.clock() >= until:
            del self.refusals[home]
            return None
        return reason

    def _hand_on(self, home: PoolKey, message: dict[str, Any], descriptors: list[int]) -> str | None:
        """Give the request to its warm process, a new one if need be; why that could not be."""
        found = self.homes.get(home)
        if found and (limits.is_spent(found.record, self.limits, self.clock()) or not is_fresh(found.watched)):
            self._let_go(home)
            found = None
        for _ in range(2):  # the one at hand may have died just now
            found = found or self._start(home, descriptors)
            try:
                fd_messages.send(found.control, message, descriptors)
            except BlockingIOError:
                return "its warm process has too many requests already"
            except OSError:
                self._let_go(home)
                found = None
            else:
                found.record.used = self.clock()
                found.record.uses += 1
                return None
        return "its warm process dies"

    def _start(self, home: PoolKey, request: list[int]) -> Warm:
        ours, theirs = fd_messages.pair()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                ours.close()
                self.requests.close()
                self.selector.close()
                if self.relief:
                    self.relief.close()
                for other in self.homes.values():
                    other.control.close()
                for descriptor in request:  # it is sent them; a copy of its own would keep a task's channels open
                    os.close(descriptor)
                oom_priority.offer(oom_priority.WARM)
                warm.run(home, theirs, self.log)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        theirs.close()
        ours.setblocking(False)
        found = Warm(ours, Record(born=self.clock(), used=self.clock()))
        self.homes[home] = found
        self.selector.register(ours, selectors.EVENT_READ, lambda: self._hear_warm(home, found))
        return found

    def _hear_warm(self, home: PoolKey, found: Warm) -> None:
        try:
            message, _ = fd_messages.receive(found.control)
        except BlockingIOError:
            return
        except OSError:
            message = None
        if message is None:
            self._let_go(home, found)
        elif "watch" in message:
            found.watched.append(message["watch"])
        elif "ready" in message:
            found.record.memory_bytes = message["ready"]
        elif "refused" in message:
            lasts_s = RETRY_S if not message["lasting"] else REMEMBER_S if home.version is None else float("inf")
            self.refusals[home] = (message["refused"], self.clock() + lasts_s)
            self._let_go(home, found)

    def _let_go(self, home: PoolKey, found: Warm | None = None) -> None:
        """Close our end: the warm process sees its tasks to their end, answers what it still has, and exits."""
        current = self.homes.get(home)
        found = found or current
        if found is None or found.control.fileno() < 0:
            return
        if found is current:
            del self.homes[home]
        self.selector.unregister(found.control)
        found.control.close()

    def _let_go_surplus(self) -> None:
        records = {home: found.record for home, found in self.homes.items()}
        for home in list(limits.list_surplus(records, self.limits, self.clock())):
            self._let_go(home)


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
            self.pid = lean.start_guard(self.requests, self.chosen)
            count_keepers().fell_back("the guard of warm processes ended and was started again")


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
        _forget_descriptors(keep=requests.fileno())
        _become_subreaper()
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
        running = {_fork_keeper(requests, chosen, ours, theirs), lean.start(requests, chosen, theirs)}
    while True:
        pid, status = os.wait()
        if pid not in running:
            continue  # one that a relieved keeper left
        running.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        if not running:
            return code
        if code == RELIEVED:
            count_keepers().took_fast()
        elif code:
            count_keepers().fell_back(f"one of two keepers of warm processes ended with {code}")


def _fork_keeper(requests: socket.socket, chosen: Limits, relief: socket.socket, other: socket.socket) -> int:
    keeper = os.fork()
    if keeper == 0:
        code = 1
        try:
            other.close()
            code = keep(requests, chosen, relief)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return keeper


def keep(
    requests: socket.socket,
    chosen: Limits,
    relief: socket.socket | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> int:
    """Be a keeper; the exit code once it is over."""
    setproctitle("airfleet keeper of warm processes")
    _become_subreaper()
    compat.hide_memory()
    groundwork.import_modules()
    groundwork.keep_parts()
    log = groundwork.prepare_log()
    gc.collect()
    gc.freeze()
    on_ready()
    keeper = Keeper(requests, chosen, log, relief)
    keeper.serve()
    if keeper.is_relieved:
        return RELIEVED  # the guard reaps what it leaves
    _wait_for_children()
    return 0


def _wait_for_children() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def _reap_all() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become_subreaper() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _forget_descriptors(keep: int) -> None:
    """Let go of everything inherited but the standard streams: a database must see its client die when that does.

    The numbers stay taken, so that Python objects that still hold them reach nothing.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        number = int(name)
        if number > 2 and number not in (keep, null):
            with contextlib.suppress(OSError):  # the listing's own, closed by now
                os.fstat(number)
                os.dup2(null, number)
    os.close(null)
