"""Processes that may end while a test looks at them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable

import psutil


def is_alive(process: psutil.Process | int) -> bool:
    """Return whether a process, or the one with this pid, runs. One that has ended and is not reaped does not run."""
    try:
        process = psutil.Process(process) if isinstance(process, int) else process
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def read_title(process: psutil.Process) -> str:
    """Return the first word of a process's command line; "" if it has none, or has ended."""
    with contextlib.suppress(psutil.Error, IndexError):
        return str(process.cmdline()[0])
    return ""


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to those of the processes that have not ended."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
