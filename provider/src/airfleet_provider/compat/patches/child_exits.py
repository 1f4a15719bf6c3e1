"""Airflow's supervisors learn at once that a child has ended."""

from __future__ import annotations

import contextlib
import functools
import os
import selectors
from typing import Any

from airfleet_provider.compat.patches.task_start import ForkedProcess


def notice_exits() -> None:
    """Wake Airflow's supervisors in this process the moment a child of theirs ends.

    They look for the end of a child only when one of its sockets has something to say, and so wait out their time,
    5 s for a task and 10 s for a triggerer that stops, when the last socket closes an instant before the child is gone.
    """
    # Airflow is imported inside: a process that does not need this should not pay for it.
    from airflow.sdk.execution_time.supervisor import WatchedSubprocess  # noqa: PLC0415

    original = WatchedSubprocess._register_pipe_readers
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def register(self: Any, *sockets: Any, **options: Any) -> None:  # noqa: ANN401 - Airflow's own
        original(self, *sockets, **options)
        with contextlib.suppress(OSError):  # it has ended already, and is seen at the first look
            handle = ForkedProcess(os.pidfd_open(self.pid))
            self.selector.register(handle, selectors.EVENT_READ, (lambda _: False, self.selector.unregister))

    WatchedSubprocess._register_pipe_readers = register
