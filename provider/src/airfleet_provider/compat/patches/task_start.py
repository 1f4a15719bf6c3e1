"""The start of a task from a zygote, instead of a fork of the executor (ADR 12)."""

from __future__ import annotations

import enum
import functools
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from airfleet_provider.compat.calls.lookup_recorder import LookupRecorder
from airfleet_provider.compat.patches import held_fields
from airfleet_provider.compat.patches.patch import Patch, apply, undo
from airfleet_provider.compat.patches.requirements import Accepts, Contains, Has, Versions
from airfleet_provider.processes import fd_messages

# Airflow is imported inside the functions: a process that needs one of them should not pay for all.
# ruff: noqa: PLC0415

# psutil returns such a value for a process that a signal ended, and Airflow's supervisor recognises it by its `name`.
SignalExit = enum.IntEnum("SignalExit", {one.name: -one.value for one in signal.Signals})  # type: ignore[misc]


def find_obstacle() -> str | None:
    """Return why tasks of this Airflow cannot be forked from a warm process, or None if they can."""
    return next(filter(None, (patch.find_obstacle() for patch in (LOADED_BAG, LOOKUPS))), None)


def hide_memory() -> None:
    """Keep other processes of this user from reading this process's memory, as Airflow does for its supervisors."""
    from airflow.sdk.execution_time.supervisor import _make_process_nondumpable

    _make_process_nondumpable()


def become_loader() -> None:
    """Prepare this process as a task's process before its Dag file: without database, with plugins and listeners."""
    from airflow.sdk.execution_time.supervisor import block_orm_access
    from airflow.sdk.listener import get_listener_manager

    block_orm_access()
    get_listener_manager()


def refuse_lookups(on_lookup: Callable[[str, str], None]) -> Callable[[], None]:
    """Call `on_lookup` if the load reads a variable or a connection. Return a function that ends that."""
    apply(LOOKUPS, on_lookup)
    return functools.partial(undo, LOOKUPS)


def log_context() -> dict[str, Any]:
    """Return the ids that every line of this task's log has."""
    from structlog.contextvars import get_contextvars

    return get_contextvars()


def open_bundle(bundle: str, version: str | None) -> Any:  # noqa: ANN401 - a BaseDagBundle
    """Return a bundle, and make sure that its files exist on this host."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    instance = DagBundlesManager().get_bundle(name=bundle, version=version)
    instance.initialize()
    return instance


def load_bag(bundle: Any, path: str) -> Any:  # noqa: ANN401 - a BaseDagBundle, a DagBag
    """Execute a Dag file exactly as a task's process does."""
    from airflow.dag_processing.dagbag import BundleDagBag

    return BundleDagBag(
        dag_folder=os.fspath(Path(bundle.path, path)),
        safe_mode=False,
        load_op_links=False,
        bundle_path=bundle.path,
        bundle_name=bundle.name,
    )


def lend_bag(bag: Any, said: Callable[[], None]) -> None:  # noqa: ANN401 - a DagBag
    """Let this process and its forks find a bag in place of executing its Dag file. `said` is called when they do."""
    # The worker has checked this before its request for the task.
    apply(LOADED_BAG, bag, said, is_checked=True)


def run_task(descriptors: Sequence[int]) -> NoReturn:
    """Run a task in this process, and exit. `descriptors` are its requests, stdout, stderr and log."""
    from airflow.sdk.execution_time import supervisor

    requests, stdout, stderr = (socket.socket(fileno=one) for one in descriptors[:3])
    supervisor._fork_main(requests, stdout, stderr, descriptors[3], supervisor._subprocess_main)
    raise SystemExit  # never reached, because the call exits


def _give_loaded(original: Any, bag: Any, said: Callable[[], None]) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    def find(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever BundleDagBag takes
        if not args and kwargs.get("dag_folder") == bag.dag_folder:
            said()
            return bag
        return original(*args, **kwargs)

    return (find,)


def reseed() -> None:
    """Give a forked process its own random numbers. Python's own generator does that itself."""
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()


@dataclass(slots=True)
class ForkedProcess:
    """A pidfd that a selector can watch and a supervisor can close."""

    descriptor: int

    def fileno(self) -> int:
        return self.descriptor

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@dataclass(slots=True)
class ForkedProcessTracker:
    """A task's process that is a child of another process. A socket reports its end, or at worst its pidfd does."""

    pid: int
    channel: socket.socket
    code: int | None = None
    # What the task used, if its warm process has told.
    used: Mapping[str, Any] | None = None
    handle: ForkedProcess | None = None
    on_lost: Callable[[ForkedProcess], None] = field(default=lambda _: None)
    # Gets what the kernel says of a task that it killed for want of memory.
    on_memory: Callable[[Mapping[str, Any]], None] = field(default=lambda _: None)

    # Airflow's supervisor catches these exceptions by these names.
    ProcessNotFound = ProcessLookupError
    TimeoutExpired = subprocess.TimeoutExpired

    def send_signal(self, number: signal.Signals) -> None:
        if self.code is not None:
            raise ProcessLookupError(self.pid)
        os.kill(self.pid, number)

    def wait(self, timeout: float | None) -> int:
        """Return the exit code, if there is one. The supervisor's loop receives it, so this method does not wait."""
        if self.code is None:
            raise subprocess.TimeoutExpired("task", timeout or 0)
        return SignalExit(self.code) if self.code < 0 else self.code

    def hear(self, channel: socket.socket) -> bool:
        """Record how the task ended, and return whether the channel may bring more."""
        try:
            message, _ = fd_messages.receive(channel)
        except ConnectionResetError:
            message = None
        if message is not None:
            self.code = int(message["exit"])
            self.used = message.get("used")
            if "memory" in message:
                self.on_memory(message["memory"])
            return False
        # The warm process was killed. The task still runs. Its end will be noticed, but not its exit code.
        try:
            self.handle = ForkedProcess(os.pidfd_open(self.pid))
        except ProcessLookupError:
            self.code = -signal.SIGKILL
        else:
            self.on_lost(self.handle)
        return False

    def see_end(self, handle: ForkedProcess) -> bool:
        """Record that the process has ended, because its pidfd became readable."""
        self.code = -signal.SIGKILL
        return False

    def close(self) -> None:
        self.channel.close()
        if self.handle:
            self.handle.close()


def supervise(
    *,
    pid: int,
    channel: socket.socket,
    ends: Sequence[socket.socket],
    what: Any,  # noqa: ANN401 - airflow.sdk.api.datamodels TaskInstance
    dag_rel_path: str | os.PathLike[str],
    bundle_info: Any,  # noqa: ANN401 - BundleInfo
    client: Any,  # noqa: ANN401 - airflow.sdk.api.client.Client
    logger: Any,  # noqa: ANN401 - a structlog logger
    sentry_integration: str,
    subprocess_logs_to_stdout: bool,
) -> tuple[int, str, Mapping[str, Any] | None]:
    """Supervise a task's process to its end with Airflow's own supervisor.

    Return its exit code, its final state, and what it used, or None if its warm process died before it could tell.
    `ends` are this process's ends of the task's requests, stdout, stderr and log.
    """
    tracker = ForkedProcessTracker(pid, channel)
    try:
        process = _activity().attach(
            tracker=tracker,
            ends=ends,
            logger=logger,
            what=what,
            client=client,
            subprocess_logs_to_stdout=subprocess_logs_to_stdout,
        )
        process._on_child_started(
            ti=what, dag_rel_path=dag_rel_path, bundle_info=bundle_info, sentry_integration=sentry_integration
        )
        # The start counts as a heartbeat. Airflow would send another a moment later: a quarter of a short task's calls.
        process._last_heartbeat_attempt = process._last_successful_heartbeat
        code = process.wait()
        return code, process.final_state, tracker.used
    finally:
        tracker.close()


@functools.cache
def _activity() -> Any:  # noqa: ANN401 - a subclass of ActivitySubprocess
    import structlog
    from airflow.sdk.execution_time.supervisor import ActivitySubprocess

    class WarmActivity(held_fields.HoldsFields, ActivitySubprocess):  # type: ignore[misc]
        """Airflow's supervisor, for a process that a warm process has forked."""

        @classmethod
        def attach(
            cls,
            *,
            tracker: ForkedProcessTracker,
            ends: Sequence[socket.socket],
            logger: Any,  # noqa: ANN401 - a structlog logger
            what: Any,  # noqa: ANN401 - a TaskInstance
            **fields: Any,  # noqa: ANN401 - ActivitySubprocess's own
        ) -> WarmActivity:
            requests, stdout, stderr, logs = ends
            process: WarmActivity = cls(
                id=what.id,
                pid=tracker.pid,
                stdin=requests,
                process=tracker,
                process_log=logger or structlog.get_logger(logger_name="task").bind(),
                start_time=time.monotonic(),
                new_process_group=True,
                **fields,
            )
            process._register_pipe_readers(stdout, stderr, requests, logs, data={})
            # The end of the process wakes the loop, like its other messages. Airflow's own loop checks every 5 s only.
            process.selector.register(
                tracker.channel, selectors.EVENT_READ, (tracker.hear, process.selector.unregister)
            )
            tracker.on_memory = lambda found: process.process_log.error(describe_memory_kill(found))
            tracker.on_lost = lambda handle: process.selector.register(
                handle, selectors.EVENT_READ, (tracker.see_end, process.selector.unregister)
            )
            return process

    return WarmActivity


def describe_memory_kill(found: Mapping[str, Any]) -> str:
    """Return a line for the log of a task that the kernel has killed for want of memory, from the kernel's counter."""
    limit = f"{int(found['limit']) / 2**20:.0f} MiB" if found["limit"] else "that of the host"
    if found.get("own"):
        return (
            "airfleet: the kernel killed this task, or a process of it, for want of memory. The limit of the task is "
            f"{limit}, and it had {int(found['peak']) / 2**20:.0f} MiB at its peak. See `task_limits` in fleet.yaml, "
            "and the `executor_config` of the task."
        )
    others = f"; it killed {found['kills']} processes of this worker while the task ran" if found["kills"] > 1 else ""
    return (
        f"airfleet: the kernel killed the task for want of memory. The limit is {limit}, for all processes of the "
        f"worker together; the task had {int(found['peak']) / 2**20:.0f} MiB at its peak, of which it shared some with "
        f"its warm process{others}."
    )


def stock_coordinator() -> Any:  # noqa: ANN401 - airflow.sdk.execution_time.coordinator.BaseCoordinator
    """Return the coordinator with which Airflow itself starts a Python task."""
    from airflow.sdk.execution_time.coordinator import _build_python_coordinator

    return _build_python_coordinator()


_COMMS, _RUNNER = "airflow.sdk.execution_time.comms", "airflow.sdk.execution_time.task_runner"
_SUPERVISOR = "airflow.sdk.execution_time.supervisor"
_WATCHED, _ACTIVITY = f"{_SUPERVISOR}:WatchedSubprocess", f"{_SUPERVISOR}:ActivitySubprocess"
_STARTED = ("ti", "dag_rel_path", "bundle_info", "sentry_integration")
# The code of Airflow that a start from a zygote uses.
_START = (
    Versions(("3.3.",)),
    Accepts(f"{_ACTIVITY}._register_pipe_readers", ("self", "out", "err", "requests", "logs"), ("data",)),
    Accepts(f"{_ACTIVITY}._on_child_started", ("self",), _STARTED),
    Accepts(f"{_ACTIVITY}.wait", ("self",)),
    Accepts(f"{_SUPERVISOR}:_fork_main", ("requests", "out", "err", "log_fd", "target")),
    Accepts(f"{_SUPERVISOR}:_subprocess_main"),
    Accepts(f"{_SUPERVISOR}:_configure_logs_over_json_channel", ("log_fd",)),
    Accepts(f"{_SUPERVISOR}:_make_process_nondumpable"),
    Accepts(f"{_SUPERVISOR}:block_orm_access"),
    Accepts(f"{_RUNNER}:main"),
    Accepts(f"{_COMMS}:CommsDecoder", named=("log",)),
    Accepts(f"{_COMMS}:TypeAdapter", ("kind",)),
    Accepts(f"{_RUNNER}:TypeAdapter", ("kind",)),
    Has(f"{_SUPERVISOR}:ProcessTracker", ("ProcessNotFound", "TimeoutExpired")),
    *held_fields.REQUIRES,
)
LOADED_BAG = Patch(
    name="loaded-dag-file",
    targets=("airflow.dag_processing.dagbag:BundleDagBag",),
    requires=(
        *_START,
        Contains(
            f"{_RUNNER}:parse",
            (
                "from airflow.dag_processing.dagbag import BundleDagBag",
                "dag_folder=dag_absolute_path",
                "safe_mode=False",
                "load_op_links=False",
            ),
        ),
    ),
    assumes=(
        # The supervisor checks a process only after its sockets. A socket that reports the end saves 5 s.
        Contains(
            f"{_WATCHED}._service_subprocess",
            (
                "self.selector.select",
                "need_more = socket_handler(key.fileobj)",
                "on_close(sock)",
                "self._check_subprocess_exit",
            ),
        ),
        Contains(f"{_WATCHED}._check_subprocess_exit", ('name := getattr(self._exit_code, "name", None)',)),
        # A start counts as a heartbeat.
        Contains(f"{_ACTIVITY}._on_child_started", ("self._last_successful_heartbeat = time.monotonic()",)),
        Contains(
            f"{_ACTIVITY}._send_heartbeat_if_needed",
            ("time.monotonic() - self._last_heartbeat_attempt) < MIN_HEARTBEAT_INTERVAL",),
        ),
        Contains(
            "airflow.api_fastapi.execution_api.routes.task_instances:ti_run",
            ("last_heartbeat_at=timezone.utcnow()",),
        ),
        *held_fields.ASSUMES,
    ),
    make=_give_loaded,
    without="every task loads its Dag file again, in a process that starts Airflow's own way",
    processes="zygotes and the tasks that are forked from them",
)
LOOKUPS = Patch(
    name="zygote-lookups",
    targets=(f"{_SUPERVISOR}:ensure_secrets_backend_loaded",),
    requires=(
        Accepts(f"{_SUPERVISOR}:ensure_secrets_backend_loaded"),
        *(
            Contains(
                f"airflow.sdk.execution_time.context:{name}",
                ("from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded",),
            )
            for name in ("_get_variable", "_get_connection")
        ),
    ),
    make=lambda _, on_lookup: (lambda: [LookupRecorder(on_lookup)],),
    without="tasks would share what a Dag file looked up while it loaded, so none starts from a zygote",
    processes="zygotes, while they load a Dag file",
    is_required=True,
)
