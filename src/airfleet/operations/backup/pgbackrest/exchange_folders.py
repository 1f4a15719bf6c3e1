"""Exchange two folders atomically. The Python of a host's system runs this text: it has only the standard library."""

from __future__ import annotations

import ctypes
import os
import sys

AT_FDCWD = -100
RENAME_EXCHANGE = 2


def main(one: str, other: str) -> None:
    """Exchange the names of two folders. If that fails, exit with the error of the system."""
    call = ctypes.CDLL(None, use_errno=True).renameat2
    if call(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        sys.exit("cannot exchange two folders at once: " + os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(*sys.argv[1:])
