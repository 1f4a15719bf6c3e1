"""The heap of this process."""

from __future__ import annotations

import contextlib
import ctypes


def give_back_free_memory() -> None:
    """Return to the kernel what the allocator of C keeps free. An allocator that cannot do this keeps it."""
    with contextlib.suppress(AttributeError, OSError):  # glibc has the function, musl has not
        ctypes.CDLL(None).malloc_trim(0)
