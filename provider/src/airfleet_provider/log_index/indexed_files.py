"""A note on a log file: so many of its first bytes are in the index already, under the name of an earlier file.

It is an extended attribute. Where a file system has none, the lines are in the index twice.
"""

from __future__ import annotations

import os
from contextlib import suppress

NAME = "user.airfleet.indexed"


def note(descriptor: int, size: int) -> None:
    """Note that the index has the first bytes of an open file."""
    with suppress(OSError):
        os.setxattr(descriptor, NAME, str(size).encode())


def read(descriptor: int) -> int:
    """Return how many of the first bytes of an open file are in the index under another name."""
    try:
        return max(0, int(os.getxattr(descriptor, NAME)))
    except (OSError, ValueError):
        return 0
