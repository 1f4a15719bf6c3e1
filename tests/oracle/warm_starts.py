"""pytest plugin for Airflow's own tests: a task starts, is prepared and is watched as airfleet does it.

A test's process takes the part of a warm process, as tasks must inherit what it mocked: it forks the task, and tells
its end on a channel. The supervisor above the task, the groundwork below it and the notice of exits are airfleet's own.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from airflow.sdk.execution_time import supervisor

from airfleet_provider.compat.patches import child_exits, prefork, task_start
from airfleet_provider.processes import fd_messages

# The pids of the tasks that were started.
started: list[int] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"airfleet started {len(started)} tasks")


def pytest_configure(config: pytest.Config) -> None:
    prefork.import_modules()
    prefork.keep_parts()
    child_exits.notice_exits()
    supervisor.ActivitySubprocess.start = staticmethod(start)


def start(
    *,
    what: Any,  # noqa: ANN401 - Airflow's own, as all below
    dag_rel_path: Any,  # noqa: ANN401
    bundle_info: Any,  # noqa: ANN401
    client: Any,  # noqa: ANN401
    target: Callable[[], None] | None = None,
    logger: Any = None,  # noqa: ANN401
    sentry_integration: str = "",
    **fields: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Return what `ActivitySubprocess.start` returns, for a task that another process has forked."""
    pairs = [socket.socketpair() for _ in range(fd_messages.TASK_DESCRIPTORS - 1)]
    ours, theirs = fd_messages.pair()
    pid = os.fork()
    if pid == 0:
        _become_task([ends[1] for ends in pairs], target or supervisor._subprocess_main)
    started.append(pid)
    os.setpgid(pid, pid)
    for ends in pairs:
        ends[1].close()
    threading.Thread(target=_tell_end, args=(pid, theirs), daemon=True).start()
    process = task_start._activity().attach(
        tracker=task_start.ForkedProcessTracker(pid, ours),
        ends=[ends[0] for ends in pairs],
        logger=logger,
        what=what,
        client=client,
        **fields,
    )
    process._on_child_started(
        ti=what, dag_rel_path=dag_rel_path, bundle_info=bundle_info, sentry_integration=sentry_integration
    )
    return process


def _become_task(ends: list[socket.socket], target: Callable[[], None]) -> NoReturn:
    try:
        os.setpgid(0, 0)
        requests, stdout, stderr, log = ends
        supervisor._fork_main(requests, stdout, stderr, log.fileno(), target)
    finally:
        os._exit(124)


def _tell_end(pid: int, channel: socket.socket) -> None:
    _, status = os.waitpid(pid, 0)
    with channel:
        fd_messages.send(channel, {"exit": os.waitstatus_to_exitcode(status)})
