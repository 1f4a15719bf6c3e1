"""How a process relates to others: ending with the parent, adopting orphans, inherited descriptors, hidden memory."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

from airfleet_provider.processes import libc

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4
PR_SET_CHILD_SUBREAPER = 36
LAST_STANDARD_STREAM = 2


class ParentGoneError(SystemExit):
    """The parent of this process ended before the kernel began to watch it."""


def die_with(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Make the kernel send this process a signal when its parent ends for any reason.

    Raises:
        ParentGoneError: the parent has ended already.
    """
    _prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        raise ParentGoneError("airfleet: the parent of this process has gone")


def ignore_signals() -> None:
    """Ignore the signals that end an executor and the processes of its session, which end after their work."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def become_subreaper() -> None:
    """Become the parent of every orphan among the descendants of this process, in place of init."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def hide_memory() -> None:
    """Let no other process of this user read the memory of this one, or of children that it forks later.

    A process that they execute is as any other. What lies in /proc of this process belongs to root from now on.
    """
    _prctl(PR_SET_DUMPABLE, 0)


@contextlib.contextmanager
def own_files_of_proc() -> Iterator[None]:
    """Let a process that has hidden its memory write to its files in /proc, and hide the memory again."""
    if _prctl(PR_GET_DUMPABLE):
        yield
        return
    _prctl(PR_SET_DUMPABLE, 1)
    try:
        yield
    finally:
        hide_memory()


def _prctl(option: int, value: int = 0) -> int:
    return int(libc.find().prctl(option, value, 0, 0, 0))


def close_others(*kept: int) -> None:
    """Close every descriptor of this process except the standard streams and `kept`."""
    for number in _list_descriptors():
        if number > LAST_STANDARD_STREAM and number not in kept:
            with contextlib.suppress(OSError):
                os.close(number)


def blank_descriptors(is_wanted: Callable[[int], bool]) -> None:
    """Point every descriptor that is not wanted to /dev/null.

    The numbers stay in use. So a Python object that still holds a number reaches /dev/null, and not a file that was
    opened later. `is_wanted` may raise OSError for a descriptor that was closed in between, which then stays as it is.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in _list_descriptors():
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed by now
            os.fstat(number)
            if number != null and not is_wanted(number):
                os.dup2(null, number, inheritable=False)
    os.close(null)


def _list_descriptors() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers, not paths


def flush() -> None:
    """Flush Python's buffers of stdout and stderr, which os._exit would drop; ignore errors."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
