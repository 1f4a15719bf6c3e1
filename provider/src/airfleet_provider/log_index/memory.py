"""Lets a process that writes an index keep the memory that a commit frees, because the next one takes it again."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Parameters of mallopt(3), with their values. By default, glibc gives each large block back to the kernel, which has to
# clear all its pages again for the next commit: a quarter of what a small commit costs.
_OPTIONS = (
    # M_ARENA_MAX: the writer has a thread for each commit, and each would begin with memory of its own.
    (-8, 1),
    # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, in bytes. The writer collects 30 MB.
    (-3, 32 << 20),
    (-1, 64 << 20),
    # M_TOP_PAD: bytes that are taken at once.
    (-2, 16 << 20),
)


def keep_freed() -> None:
    """Keep what is freed, for the whole process. Another C library than glibc goes on as it was."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _OPTIONS:
            mallopt(option, value)
