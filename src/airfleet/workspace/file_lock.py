"""A lock of a whole file, which dies with its process, and which can be checked without being taken.

flock(2) has no way to look: whoever tries it holds it for a moment, and somebody who wanted it then fails.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# `struct flock` of fcntl(2): the lock belongs to the open file, as one of flock(2) does.
_FORMAT = "hhqqi"
_WHOLE_FILE = struct.pack(_FORMAT, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
# Earlier versions hold the file by flock(2), alone. Shared, the same lock keeps out those only.
_FORMER = fcntl.LOCK_SH | fcntl.LOCK_NB


def take(descriptor: int) -> None:
    """Lock a file that is open for writing, until it is closed; raises BlockingIOError while another process has it."""
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE)
    fcntl.flock(descriptor, _FORMER)


@contextmanager
def wait_and_hold(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made where it is missing; wait as long as another process has it.

    It is a lock of flock(2), as earlier versions wait for it too; `is_taken` does not see it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_taken(path: Path) -> bool:
    """Whether a process has the lock of a file now; looking keeps nobody from taking it."""
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
