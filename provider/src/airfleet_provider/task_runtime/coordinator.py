"""The coordinator through which Airflow starts tasks: as forks of a zygote if possible, else as stock Airflow does."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

from airflow.sdk.execution_time.coordinator import BaseCoordinator

from airfleet_provider.compat.calls import config
from airfleet_provider.compat.patches import task_start
from airfleet_provider.contract import directives, fallbacks, task_records
from airfleet_provider.network.http_transport import send_plainly
from airfleet_provider.processes import fd_messages
from airfleet_provider.processes.polling import wait_readable, wait_writable
from airfleet_provider.task_records.handover import RecordHandover
from airfleet_provider.task_runtime.usage import ChildrenWatch, UsageReporter


class WarmCoordinator(BaseCoordinator):  # type: ignore[misc]
    """Starts each task as a fork of a zygote; if that is not possible, the task starts as in stock Airflow."""

    def __init__(self, patience_s: float = 60.0) -> None:
        self.patience_s = patience_s
        self.stock = task_start.stock_coordinator()
        self.obstacle = task_start.find_obstacle()
        self.folder = config.read_setting(task_records.SECTION, task_records.FOLDER_KEY)
        self.has_spans = config.read_setting(task_records.SECTION, task_records.SPANS_KEY) == "True"
        self.starts = fallbacks.open_counter(fallbacks.TASK_START, os.environ)

    def execute_task(
        self,
        *,
        what: Any,  # noqa: ANN401 - airflow's TaskInstance
        dag_rel_path: str | PathLike[str],
        bundle_info: Any,  # noqa: ANN401 - airflow's BundleInfo
        client: Any,  # noqa: ANN401 - airflow's Client
        logger: Any = None,  # noqa: ANN401 - a structlog logger
        sentry_integration: str = "",
        subprocess_logs_to_stdout: bool,
        **kwargs: Any,  # noqa: ANN401 - what a later Airflow may add
    ) -> Any:  # noqa: ANN401 - BaseCoordinator.ExecutionResult
        """Run one task to its end, and count whether it started as a fork of a zygote."""
        given = {
            "what": what,
            "dag_rel_path": dag_rel_path,
            "bundle_info": bundle_info,
            "client": client,
            "logger": logger,
            "sentry_integration": sentry_integration,
            "subprocess_logs_to_stdout": subprocess_logs_to_stdout,
        }
        records = RecordHandover(client, self.folder, str(getattr(what, "id", "")), self.has_spans)
        env = records.prepare()
        # If a later Airflow passes arguments that this class does not know, stock Airflow starts the task.
        asked = self._ask(bundle_info, os.fspath(dag_rel_path), what, env) if not kwargs else None
        ends, answer, status = asked or ([], {}, None)
        if status is None or "pid" not in answer:
            for end in [*ends, *([status] if status else [])]:
                end.close()
            reason = answer.get("refused", "zygote pool: no answer" if not kwargs else f"unknown: {sorted(kwargs)}")
            # A Dag file that turns warm starts off is no fault, so this is not a warning.
            is_asked_for = f"{directives.WARM_START} = " in reason
            self.starts.fell_back(f"{os.fspath(dag_rel_path)}: {reason}", expected=is_asked_for)
            reporter, children = UsageReporter(client), ChildrenWatch()
            with _lend(env):
                result = self.stock.execute_task(**given, **kwargs)
            reporter.report(children.measure().to_json(), result.exit_code)
            records.finish()
            return result
        self.starts.took_fast()
        send_plainly(client)
        reporter = UsageReporter(client)
        code, state, used = task_start.supervise(pid=answer["pid"], channel=status, ends=ends, **given)
        reporter.report(used or {}, code)
        records.finish()
        return self.ExecutionResult(code, state)

    def _ask(
        self,
        bundle_info: Any,  # noqa: ANN401 - airflow's BundleInfo
        path: str,
        what: Any,  # noqa: ANN401 - airflow's TaskInstance
        env: Mapping[str, str],
    ) -> tuple[list[socket.socket], dict[str, Any], socket.socket | None]:
        """Request a task from the zygote pool.

        Returns our ends of the new task's channels, the answer of the pool or the zygote, and the status channel.
        """
        if self.obstacle:
            return [], {"refused": self.obstacle}, None
        channel = find_channel()
        if channel is None:
            return [], {"refused": "no zygote pool runs"}, None
        pairs = [socket.socketpair() for _ in range(fd_messages.TASK_DESCRIPTORS - 1)]
        ours, theirs = fd_messages.pair()
        given = [*(pair[1] for pair in pairs), theirs]
        order: dict[str, Any] = {"bundle": bundle_info.name, "version": bundle_info.version, "path": path}
        # For the limits of the task (`task_limits`).
        order["task"] = [getattr(what, "dag_id", ""), getattr(what, "task_id", "")]
        order["env"] = dict(env)
        answer: dict[str, Any] = {}
        try:
            # A pool that never reads must not block this task for ever.
            if not wait_writable([channel], self.patience_s):
                raise TimeoutError(f"it did not accept a request within {self.patience_s:g} s")
            fd_messages.send(channel, order, [one.fileno() for one in given])
            for one in given:
                one.close()
            if wait_readable([ours], self.patience_s):
                answer = fd_messages.receive(ours)[0] or {}
        except OSError as error:
            answer = {"refused": f"the zygote pool has gone: {error}"}
        finally:
            channel.detach()
            for one in given:
                one.close()
        return [pair[0] for pair in pairs], answer, ours


@contextlib.contextmanager
def _lend(env: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the children of this process, and remove them again."""
    os.environ.update(env)
    try:
        yield
    finally:
        for name in env:
            os.environ.pop(name, None)


def find_channel() -> socket.socket | None:
    """Return the channel to the zygote pool that this process inherited, or None; the caller must detach it."""
    with contextlib.suppress(KeyError, ValueError, OSError):
        descriptor = int(os.environ[fd_messages.CHANNEL_VARIABLE])
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return socket.socket(fileno=descriptor)
    return None
