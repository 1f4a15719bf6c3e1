"""The C library of this process."""

from __future__ import annotations

import ctypes
import functools


@functools.cache
def find() -> ctypes.CDLL:
    """Return it. `ctypes.get_errno` says how its last call failed.

    Each object of this class makes classes, which would cost a task's process more than the calls.
    """
    return ctypes.CDLL(None, use_errno=True)
