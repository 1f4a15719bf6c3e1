"""A task that starts Airflow's own way inherits no connection and no channel of the executor."""

from __future__ import annotations

import functools
import os
import socket
import stat
from collections.abc import Collection, Sequence
from typing import Any

from airfleet_provider.compat.patches import child_exits, crash_reports, supervisor_parts
from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts
from airfleet_provider.processes import fd_messages, lifecycle


def prepare_supervisors() -> None:
    """Prepare the supervisors of this process, and of its forks, for tasks of every queue."""
    child_exits.notice_exits()
    crash_reports.tell_crashes()
    supervisor_parts.share_clients()
    keep_apart(fd_messages.CHANNEL_VARIABLE)


def keep_apart(channel_variable: str) -> None:
    """Close the channels of this process in the tasks that it forks, and let those tasks end when they crash.

    Such a task is a fork of the executor's process, with all its descriptors. Without this patch, it could request
    processes of other Dag files from the zygote pool, stop the pool, use a connection to a database, or let the process
    above the executor's unpickle what it likes.
    """
    apply(PATCH, channel_variable)


def _make(original: Any, channel_variable: str) -> Sequence[Any]:  # noqa: ANN401 - Airflow's own
    @functools.wraps(original)
    def fork_main(requests: Any, stdout: Any, stderr: Any, log_fd: int, target: Any) -> None:  # noqa: ANN401
        os.environ.pop(channel_variable, None)
        forget_connections({0, 1, 2, log_fd, *(one.fileno() for one in (requests, stdout, stderr))})
        crash_reports.end_on_crash()
        original(requests, stdout, stderr, log_fd, target)

    return (fork_main,)


PATCH = Patch(
    name="cold-start",
    targets=("airflow.sdk.execution_time.supervisor:_fork_main",),
    requires=(
        Accepts(
            "airflow.sdk.execution_time.supervisor:_fork_main", ("requests", "stdout", "stderr", "log_fd", "target")
        ),
    ),
    make=_make,
    without="a task that Airflow starts itself inherits the connections of the process that starts it",
    processes="Celery workers, workers of the LocalExecutor",
    is_required=True,
)


def forget_connections(kept: Collection[int]) -> None:
    """Close every inherited connection but these. The descriptors stay in use, so that objects with them reach nothing.

    Pipes are connections too: the executor's process unpickles what comes from the pipes of its pool, and they hold the
    messages of other tasks. Datagram sockets stay open, because metrics use one.
    """
    lifecycle.blank_descriptors(lambda number: number in kept or not _is_connection(number))


def _is_connection(number: int) -> bool:
    mode = os.fstat(number).st_mode
    if not stat.S_ISSOCK(mode):
        return stat.S_ISFIFO(mode)
    with socket.socket(fileno=os.dup(number)) as copy:
        return copy.type in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)
