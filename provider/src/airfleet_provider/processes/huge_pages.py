"""Huge pages in the memory that a process shares with its forks.

A fork gets an entry of the kernel's tables for each page of its parent, and its end takes each entry back. Entries of
pages that were one huge page are copied and taken back together. A write still copies 4 KiB.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from airfleet_provider.processes import libc

SIZE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
CHOSEN = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MAPS = Path("/proc/self/maps")
# Since Linux 6.1, whatever the administrator chose. Who chose that nobody has huge pages is obeyed here.
MADV_COLLAPSE, NOBODY = 25, "[never]"
# The kernel has no more huge pages, or the memory group of this process is full. Each further try would free memory
# for nothing: the kernel takes it from the files that the group has in its cache.
FULL = frozenset({errno.ENOMEM, errno.EBUSY})
# The part of a huge page that may be memory which this process has not used yet.
EMPTY = 1 / 8
TIMES = 3
# Seconds after which the rest of the memory stays as it is. All of it takes 0.1 s, but where a memory group is above
# its MemoryHigh, or memory is in small pieces, the kernel may let a process wait for seconds at each huge page.
PATIENCE_S = 2.0


def join_pages(clock: Callable[[], float] = time.monotonic) -> int:
    """Let the kernel make huge pages of the memory of this process. Return how many it made.

    A process calls this before its first fork: a huge page is a copy of pages that forks share. Where the kernel has no
    huge page, or cannot do this, or its administrator wants none, pages stay small.
    """
    made, end = 0, clock() + PATIENCE_S
    with suppress(OSError, ValueError):
        size = int(SIZE.read_text())
        if NOBODY in CHOSEN.read_text():
            return made
        for start in list(_list_used(size)):
            error = _join(start, size)
            made += not error
            if error in FULL or clock() >= end:
                break
    return made


def _join(start: int, size: int) -> int:
    """Make one huge page. Return 0, or the number of the error."""
    for _ in range(TIMES):
        if libc.find().madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), MADV_COLLAPSE) == 0:
            return 0
        if ctypes.get_errno() != errno.EAGAIN:  # a page of it was busy
            break
    return ctypes.get_errno()


def _list_used(size: int) -> Iterator[int]:
    """Yield the address of each piece of memory that can be a huge page, and of which most is in use."""
    count = size // os.sysconf("SC_PAGE_SIZE")
    is_used = ctypes.create_string_buffer(count)
    for line in MAPS.read_text().splitlines():
        span, rights, _, _, inode, *name = line.split(maxsplit=5)
        if rights != "rw-p" or inode != "0" or name not in ([], ["[heap]"]):
            continue
        first, end = (int(one, 16) for one in span.split("-"))
        for start in range(-(-first // size) * size, end // size * size, size):
            libc.find().mincore(ctypes.c_void_p(start), ctypes.c_size_t(size), is_used)
            if is_used.raw.count(1) >= (1 - EMPTY) * count:
                yield start
