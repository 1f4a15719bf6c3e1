"""The zygote pool: passes each request for a task to the zygote that has loaded its Dag file."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from setproctitle import setproctitle

from airfleet_provider.compat.patches import prefork, rehearsal, task_start
from airfleet_provider.processes import fd_messages, heap, lifecycle, oom_priority
from airfleet_provider.task_runtime import eviction, zygote
from airfleet_provider.task_runtime.eviction import ZygoteLimits, ZygoteUsage
from airfleet_provider.task_runtime.load_audit import is_fresh
from airfleet_provider.task_runtime.pool_key import PoolKey

# The exit code of a pool that another pool has relieved.
RELIEVED = 3
# Seconds for which a refusal counts: a file in a folder may change, a release cannot.
REMEMBER_S = 60.0
# The same for a refusal whose reason is not the content of the file.
RETRY_S = 5.0
# One byte for each signal of an ended child; more than one read takes are read in the next round.
ENDS_BYTES = 4096


@dataclass(slots=True)
class ZygoteHandle:
    """The pool's view of one zygote."""

    control: socket.socket
    record: ZygoteUsage
    watched: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class ZygotePool:
    """Routes requests to zygotes, starts missing zygotes and ends surplus zygotes."""

    requests: socket.socket
    limits: ZygoteLimits
    log: int
    relief: socket.socket | None = None
    is_relieved: bool = False
    clock: Callable[[], float] = time.monotonic
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    zygotes: dict[PoolKey, ZygoteHandle] = field(default_factory=dict)
    refusals: dict[PoolKey, tuple[str, float]] = field(default_factory=dict)
    # The two ends of what wakes `serve` when a child has ended.
    ends: tuple[socket.socket, ...] = ()

    def watch_children(self) -> None:
        """Let `serve` reap each child as soon as it has ended, also while no request comes. For a main thread only.

        A zygote closes its channel a moment before it can be reaped, and one that was let go has no channel.
        """
        self.ends = reader, writer = socket.socketpair()
        for one in self.ends:
            one.setblocking(False)
        # Python writes to the wakeup descriptor only for signals that have a handler of Python's.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self.selector.register(reader, selectors.EVENT_READ, lambda: reader.recv(ENDS_BYTES))

    def serve(self) -> None:
        """Route requests; return when every supervisor has gone, or when another pool has taken over."""
        self.selector.register(self.requests, selectors.EVENT_READ, self._hear_supervisor)
        if self.relief:
            self.selector.register(self.relief, selectors.EVENT_READ, self._hear_relief)
        while self.requests.fileno() >= 0 and not self.is_relieved:
            for key, _ in self.selector.select(self.limits.age_s if self.zygotes else None):
                key.data()
            _reap_all()
            self._let_go_surplus()
        for pool_key in list(self.zygotes):
            self._let_go(pool_key)

    def _hear_relief(self) -> None:
        if self.relief:
            message, _ = fd_messages.receive(self.relief)
            self.is_relieved = message is not None  # without a message, the other pool died before it was ready
            self.selector.unregister(self.relief)
            self.relief.close()

    def _hear_supervisor(self) -> None:
        message, descriptors = fd_messages.receive(self.requests)
        if message is None:
            self.selector.unregister(self.requests)
            self.requests.close()
            return
        pool_key = PoolKey(message["bundle"], message["version"], message["path"])
        reason = self._find_refusal(pool_key) or self._hand_on(pool_key, message, descriptors)
        if reason:
            zygote.refuse(descriptors, reason)
        else:
            for descriptor in descriptors:
                os.close(descriptor)

    def _find_refusal(self, pool_key: PoolKey) -> str | None:
        reason, until = self.refusals.get(pool_key, (None, 0.0))
        if reason and self.clock() >= until:
            del self.refusals[pool_key]
            return None
        return reason

    def _hand_on(self, pool_key: PoolKey, message: dict[str, Any], descriptors: list[int]) -> str | None:
        """Pass the request to its zygote, and start the zygote if necessary; return why that failed, or None."""
        found = self.zygotes.get(pool_key)
        if found and (eviction.is_spent(found.record, self.limits, self.clock()) or not is_fresh(found.watched)):
            self._let_go(pool_key)
            found = None
        for _ in range(2):  # the zygote may have died just now
            found = found or self._start(pool_key, descriptors)
            try:
                fd_messages.send(found.control, message, descriptors)
            except BlockingIOError:
                return "its warm process has too many pending requests"
            except OSError:
                self._let_go(pool_key)
                found = None
            else:
                found.record.used = self.clock()
                found.record.uses += 1
                return None
        return "its warm process died"

    def _start(self, pool_key: PoolKey, request: list[int]) -> ZygoteHandle:
        ours, theirs = fd_messages.pair()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for end in self.ends:
                    end.close()
                ours.close()
                self.requests.close()
                self.selector.close()
                if self.relief:
                    self.relief.close()
                for other in self.zygotes.values():
                    other.control.close()
                for descriptor in request:  # the zygote receives them as a message; a copy would keep channels open
                    os.close(descriptor)
                oom_priority.offer(oom_priority.WARM)
                zygote.run(pool_key, theirs, self.log)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        theirs.close()
        ours.setblocking(False)
        found = ZygoteHandle(ours, ZygoteUsage(born=self.clock(), used=self.clock()))
        self.zygotes[pool_key] = found
        self.selector.register(ours, selectors.EVENT_READ, lambda: self._hear_zygote(pool_key, found))
        return found

    def _hear_zygote(self, pool_key: PoolKey, found: ZygoteHandle) -> None:
        try:
            message, _ = fd_messages.receive(found.control)
        except BlockingIOError:
            return
        except (OSError, ValueError):  # it has gone, or what it says is no message
            message = None
        if message is None:
            self._let_go(pool_key, found)
        elif "watch" in message:
            found.watched.append(message["watch"])
        elif "ready" in message:
            found.record.memory_bytes = message["ready"]
        elif "refused" in message:
            lasts_s = RETRY_S if not message["lasting"] else REMEMBER_S if pool_key.version is None else float("inf")
            self.refusals[pool_key] = (message["refused"], self.clock() + lasts_s)
            self._let_go(pool_key, found)

    def _let_go(self, pool_key: PoolKey, found: ZygoteHandle | None = None) -> None:
        """Close our end: the zygote answers its pending requests, waits for the end of its tasks, and exits."""
        current = self.zygotes.get(pool_key)
        found = found or current
        if found is None or found.control.fileno() < 0:
            return
        if found is current:
            del self.zygotes[pool_key]
        self.selector.unregister(found.control)
        found.control.close()

    def _let_go_surplus(self) -> None:
        records = {pool_key: found.record for pool_key, found in self.zygotes.items()}
        for pool_key in list(eviction.list_surplus(records, self.limits, self.clock())):
            self._let_go(pool_key)


def keep(
    requests: socket.socket,
    chosen: ZygoteLimits,
    relief: socket.socket | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> int:
    """Run a zygote pool; return its exit code: 0 if no supervisor is left, `RELIEVED` if another pool took over.

    `on_ready` runs once, before the first request is read.
    """
    setproctitle("airfleet zygote pool")
    lifecycle.become_subreaper()
    task_start.hide_memory()
    prefork.import_modules()
    prefork.keep_parts()
    log = prefork.prepare_log()
    if relief is None:  # a pool that another one will relieve serves for some seconds, and has its executor's metrics
        rehearsal.rehearse(log)
    heap.prepare_forks()
    on_ready()
    pool = ZygotePool(requests, chosen, log, relief)
    pool.watch_children()
    pool.serve()
    if pool.is_relieved:
        return RELIEVED  # the guard reaps the zygotes that this pool leaves behind
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
