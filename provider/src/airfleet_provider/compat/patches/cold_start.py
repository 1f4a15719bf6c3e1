"""A task that starts in Airflow's own way inherits no connection and no channel of the executor."""

from __future__ import annotations

import functools
import os
import socket
import stat
from collections.abc import Collection, Sequence
from typing import Any

from airfleet_provider.compat.patches import child_exits, crash_reports
from airfleet_provider.compat.patches.patch import Patch, apply
from airfleet_provider.compat.patches.requirements import Accepts
from airfleet_provider.processes import fd_messages, lifecycle


def prepare_supervisors() -> None:
    """Make the supervisors of this process, and of those forked from it, ready for tasks of every queue."""
    child_exits.notice_exits()
    crash_reports.tell_crashes()
    keep_apart(fd_messages.CHANNEL_VARIABLE)


def keep_apart(channel_variable: str) -> None:
    """Let tasks that this process forks reach nothing of it, and end when they crash.

    Such a task is a fork of the executor's own process, with every descriptor of it: without this it could order
    processes of other Dag files from the keeper, stop it, or speak on a connection to a database.
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
    """Let go of every inherited connection but these; the numbers stay taken, so objects that hold them reach nothing.

    Sockets for datagrams stay: metrics go out by one.
    """
    lifecycle.blank_descriptors(lambda number: number in kept or not _is_connection(number))


def _is_connection(number: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(number).st_mode):
        return False
    with socket.socket(fileno=os.dup(number)) as copy:
        return copy.type in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)
