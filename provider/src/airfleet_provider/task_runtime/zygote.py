"""A zygote: a process that has loaded one Dag file and forks a task from itself on each request."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from setproctitle import setproctitle

from airfleet_provider.compat.calls import openlineage
from airfleet_provider.compat.calls.lineage_events import PreparedEvents
from airfleet_provider.compat.patches import crash_reports, lineage_event, lineage_work, task_start
from airfleet_provider.contract.text import one_line
from airfleet_provider.processes import fd_messages, immortal_objects, oom_priority
from airfleet_provider.processes.memory_group import MemoryGroup, find_group
from airfleet_provider.task_runtime import fork_safety, usage
from airfleet_provider.task_runtime.load_audit import LoadAudit
from airfleet_provider.task_runtime.pool_key import PoolKey
from airfleet_provider.task_runtime.task_limits import NONE, Confinement, TaskLimiter, describe_kills

# Seconds between SIGTERM and SIGKILL, the same as in Airflow's own supervisor.
GRACE_S = 5.0
SAID_BYTES = 1 << 16
REASON_CHARS = 2000


class NotSharedError(Exception):
    """Tasks cannot share one load of this Dag file."""


class LookedUpError(BaseException):
    """Loading a Dag file looked up a variable or connection, which only a task may do.

    It is a BaseException, so that no secrets backend catches it.
    """


@dataclass(slots=True)
class Loaded:
    """The result of loading a Dag file, and the output of the load."""

    bag: Any
    watched: list[tuple[str, Any]]
    log: bytes = b""
    stdout: bytes = b""
    stderr: bytes = b""
    # The descriptor to which a task logs, in its process.
    descriptor: int = field(default=-1, kw_only=True)

    def repeat(self) -> None:
        """Write the output of the load to a task's streams and log, as if the task had loaded the file now."""
        context = {"timestamp": datetime.now(UTC).isoformat(), **task_start.log_context()}
        lines = b"".join(json.dumps({**json.loads(line), **context}).encode() + b"\n" for line in self.log.splitlines())
        for descriptor, text in ((1, self.stdout), (2, self.stderr), (self.descriptor, lines)):
            if text:
                os.write(descriptor, text)


def load(pool_key: PoolKey, log: int) -> Loaded:
    """Load the Dag file in this process, as a task would.

    `log` is the descriptor that this process logs to.

    Raises:
        NotSharedError: tasks cannot share the load, or the file does not load.
    """
    said = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("log", "stdout", "stderr")]
    saved = [os.dup(stream) for stream in (1, 2)]
    task_start.become_loader()
    if openlineage.has_own_transport():
        lineage_work.leave_out()
        openlineage.warm()
    bundle = task_start.open_bundle(pool_key.bundle, pool_key.version)
    _check_text(Path(bundle.path, pool_key.path))
    audit = LoadAudit()
    lookups: list[str] = []

    def on_lookup(kind: str, key: str) -> None:
        lookups.append(f"{kind} {key!r}")
        raise LookedUpError(lookups[-1])

    restore = task_start.refuse_lookups(on_lookup)
    # Begin before stdout and stderr are replaced: under systemd both are sockets, which the load did not open.
    audit.begin()
    _flush()
    for stream, descriptor in zip((1, 2), said[1:], strict=True):
        os.dup2(descriptor, stream)
    os.dup2(said[0], log, inheritable=False)
    try:
        bag = task_start.load_bag(bundle, pool_key.path)
    except LookedUpError:
        bag = None
    finally:
        audit.end()
        restore()
        _flush()
        for stream, descriptor in zip((1, 2), saved, strict=True):
            os.dup2(descriptor, stream)
            os.close(descriptor)
    if lookups:
        raise NotSharedError(f"loading it reads the {', '.join(sorted(set(lookups)))}")
    if bag is None or bag.import_errors or not bag.dags:
        raise NotSharedError("it does not load")
    for module in audit.list_modules():
        _check_text(Path(module))
    if objection := audit.find_objection():
        raise NotSharedError(objection)
    if openlineage.has_own_transport():
        _prepare_events(bag)
    return Loaded(bag, audit.list_watched(), *(_read_back(descriptor) for descriptor in said))


def _prepare_events(bag: Any) -> None:  # noqa: ANN401 - a DagBag
    if lineage_work.PATCH.is_applied():
        events = PreparedEvents()
        events.prepare(bag.dags)
        lineage_event.tell_prepared(events)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def _check_text(path: Path) -> None:
    try:
        objection = fork_safety.find_objection(path.read_text())
    except (OSError, UnicodeDecodeError):
        return  # a compiled module, or a Dag file in an archive, has no text to check
    if objection:
        raise NotSharedError(f"{path.name}, {objection}")


def _read_back(descriptor: int) -> bytes:
    text = os.pread(descriptor, SAID_BYTES, 0)
    os.close(descriptor)
    return text if len(text) < SAID_BYTES else text[: text.rfind(b"\n") + 1]


@dataclass(slots=True)
class ForkedTask:
    """One task that this zygote has forked and will reap."""

    pid: int
    handle: int
    status: socket.socket | None
    kill_at: float | None = None
    # How often the kernel had killed for want of memory when the task began.
    memory_kills: int = 0
    confinement: Confinement = NONE


@dataclass(slots=True)
class Zygote:
    """Forks tasks until its pool closes the channel, and then waits for the end of the running tasks."""

    control: socket.socket
    loaded: Loaded
    clock: Callable[[], float] = time.monotonic
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    tasks: dict[int, ForkedTask] = field(default_factory=dict)
    is_kept: bool = True
    group: MemoryGroup | None = field(default_factory=find_group)
    limiter: TaskLimiter = field(default_factory=TaskLimiter.read)

    def serve(self) -> None:
        """Fork tasks; return when the pool has closed the channel or died, and the last task has ended."""
        self.selector.register(self.control, selectors.EVENT_READ, self._hear_keeper)
        while self.is_kept or self.tasks:
            for key, _ in self.selector.select(self._find_rest()):
                key.data()
            self._kill_late()
            self.limiter.shares.look(self.clock())

    def _hear_keeper(self) -> None:
        try:
            message, descriptors = fd_messages.receive(self.control)
        except OSError:
            message, descriptors = None, []
        if message is None:
            self.selector.unregister(self.control)
            self.is_kept = False
        elif len(descriptors) == fd_messages.TASK_DESCRIPTORS:
            self._fork(descriptors, message.get("task"), message.get("env") or {})

    def _fork(self, descriptors: list[int], name: object, env: dict[str, str]) -> None:
        *streams, channel = descriptors
        confinement = self.limiter.confine(self.loaded.bag, name)
        kills = self.group.count_kills() if self.group else 0
        pid = os.fork()
        if pid == 0:
            oom_priority.offer(oom_priority.TASK)
            os.environ.update(env)
            self._become_task(streams, channel, confinement)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        for stream in streams:
            os.close(stream)
        status = socket.socket(fileno=channel)
        task = ForkedTask(pid, os.pidfd_open(pid), status, memory_kills=kills, confinement=confinement)
        self.tasks[pid] = task
        self.limiter.begin(confinement, self.clock())
        self.selector.register(task.handle, selectors.EVENT_READ, lambda: self._reap(task))
        self.selector.register(status, selectors.EVENT_READ, lambda: self._lose_supervisor(task))
        with contextlib.suppress(OSError):  # the supervisor has gone: `_lose_supervisor` handles the end of the channel
            fd_messages.send(status, {"pid": pid})

    def _become_task(self, streams: list[int], channel: int, confinement: Confinement) -> NoReturn:
        try:
            os.setpgid(0, 0)
            # Before the task touches anything: the group in which a process first touches memory pays for it.
            if warning := confinement.enter():
                os.write(streams[2], f"{warning}\n".encode())
            os.close(channel)
            self.selector.close()
            self.control.close()
            for task in self.tasks.values():
                os.close(task.handle)
                if task.status:
                    task.status.close()
            task_start.reseed()
            self.loaded.descriptor = streams[3]
            task_start.run_task(streams)
        except BaseException:
            # The task never began: write the reason to the worker's log and to the task's own log.
            for descriptor in {2, streams[2]}:
                with contextlib.suppress(OSError):
                    os.write(descriptor, traceback.format_exc().encode())
        finally:
            _flush()
            os._exit(124)

    def _reap(self, task: ForkedTask) -> None:
        _, status, spent = os.wait4(task.pid, 0)
        self.selector.unregister(task.handle)
        os.close(task.handle)
        del self.tasks[task.pid]
        counted = self.limiter.end(task.confinement)
        if task.status:
            with contextlib.suppress(OSError):
                code = os.waitstatus_to_exitcode(status)
                killed = describe_kills(counted, task.confinement.limits, self.group)
                killed = killed or self._describe_kill(task, code, spent.ru_maxrss << 10)
                used = usage.measure(spent, task.confinement.limits, counted)
                if killed.get("kills", 0) > used.kills:
                    used = replace(used, kills=killed["kills"])
                told = {"memory": killed} if killed else {}
                fd_messages.send(task.status, {"exit": code, "used": used.to_json(), **told})
            self._forget_supervisor(task)

    def _describe_kill(self, task: ForkedTask, code: int, peak: int) -> dict[str, Any]:
        """Return what the kernel says of a task that it may have killed for want of memory; nothing for any other."""
        if code != -signal.SIGKILL or self.group is None:
            return {}
        kills = self.group.count_kills() - task.memory_kills
        return {"kills": kills, "peak": peak, "limit": self.group.read_limit()} if kills > 0 else {}

    def _lose_supervisor(self, task: ForkedTask) -> None:
        """End a task whose supervisor died: Airflow will start it again, and two attempts must not run at once.

        Stock Airflow lets such a task run on.
        """
        self._forget_supervisor(task)
        _signal_group(task.pid, signal.SIGTERM)
        task.kill_at = self.clock() + GRACE_S

    def _forget_supervisor(self, task: ForkedTask) -> None:
        if task.status:
            self.selector.unregister(task.status)
            task.status.close()
            task.status = None

    def _find_rest(self) -> float | None:
        """Return the seconds until something must be done that nobody asks for; None if there is nothing."""
        due = [task.kill_at for task in self.tasks.values() if task.kill_at is not None]
        due += [] if self.limiter.shares.due is None else [self.limiter.shares.due]
        return max(0.0, min(due) - self.clock()) if due else None

    def _kill_late(self) -> None:
        for task in self.tasks.values():
            if task.kill_at is not None and task.kill_at <= self.clock():
                _signal_group(task.pid, signal.SIGKILL)
                task.kill_at = None


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, number)


def run(pool_key: PoolKey, control: socket.socket, log: int) -> None:
    """Load the Dag file, report that to the pool, and serve.

    If tasks cannot share the load, report the reason to the pool and refuse all requests with it.
    """
    setproctitle(f"airfleet warm {pool_key.path}")
    crash_reports.end_on_crash()
    try:
        loaded = load(pool_key, log)
    except Exception as error:
        # The content of the file is a lasting reason. A release that could not be fetched may be there soon.
        is_lasting = isinstance(error, NotSharedError)
        # A Dag file chooses what the reason names, and a longer message would be cut off.
        reason = one_line(error if is_lasting else describe_failure(error), REASON_CHARS)
        with contextlib.suppress(OSError):
            fd_messages.send(control, {"refused": reason, "lasting": is_lasting})
        refuse_all(control, reason)
        return
    # Once for all tasks: what a task does after its fork, it does in pages that it then no longer shares.
    task_start.lend_bag(loaded.bag, loaded.repeat)
    gc.collect()
    immortal_objects.keep_code()
    gc.freeze()
    with contextlib.suppress(OSError):
        fd_messages.send(control, {"ready": measure_own_memory()})
    for watched in loaded.watched:
        with contextlib.suppress(OSError):
            fd_messages.send(control, {"watch": watched})
    Zygote(control, loaded).serve()


def describe_failure(error: BaseException) -> str:
    """Return the error and its cause: an error that makes Airflow reschedule a task does not contain the reason."""
    cause = error.__cause__
    return f"{type(error).__name__}: {error}" + (f" ({type(cause).__name__}: {cause})" if cause else "")


def refuse_all(control: socket.socket, reason: str) -> None:
    """Refuse every request until the pool closes the channel."""
    while True:
        try:
            message, descriptors = fd_messages.receive(control)
        except OSError:
            return
        refuse(descriptors, reason)
        if message is None:
            return


def refuse(descriptors: list[int], reason: str) -> None:
    """Refuse a request: the supervisor that sent these descriptors then starts its task itself."""
    for index, descriptor in enumerate(descriptors):
        if index == fd_messages.TASK_DESCRIPTORS - 1:
            with socket.socket(fileno=descriptor) as status, contextlib.suppress(OSError):
                fd_messages.send(status, {"refused": reason})
        else:
            os.close(descriptor)


def measure_own_memory() -> int:
    """Return the bytes of memory that only this process uses; 0 if the kernel does not report them."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_Dirty:"):
                return int(line.split()[1]) << 10
    return 0
