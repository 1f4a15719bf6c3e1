"""A lock of a whole file. The kernel releases it when its process ends, and others can check it without taking it.

flock(2) cannot be checked: a process that tries the lock holds it for a moment, and another process fails meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# `struct flock` of fcntl(2). An F_OFD lock belongs to the open file, as a lock of flock(2) does.
_FORMAT = "hhqqi"
_WHOLE_FILE = struct.pack(_FORMAT, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
# Earlier versions of airfleet take an exclusive flock(2). A shared one keeps those versions out, and no others.
_FORMER = fcntl.LOCK_SH | fcntl.LOCK_NB


def take(descriptor: int) -> None:
    """Lock a file that is open for writing, until the file is closed.

    Raises:
        BlockingIOError: Another process has the lock.
    """
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE)
    fcntl.flock(descriptor, _FORMER)


@contextmanager
def wait_and_hold(path: Path) -> Iterator[None]:
    """Hold the lock of a file. Create the file if it does not exist, and wait while another process has the lock.

    This is a lock of flock(2), because earlier versions wait for the same one. `is_taken` does not see it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_taken(path: Path) -> bool:
    """Return whether a process has the lock of a file now. The check does not keep others from taking the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _WHOLE_FILE)
        fcntl.flock(descriptor, _FORMER)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    kind, *_ = struct.unpack(_FORMAT, found)
    return bool(kind != fcntl.F_UNLCK)
