"""Reads and writes files of the kernel's, such as those of cgroups.

Python's own files cost a task ten times as much.
"""

from __future__ import annotations

import os
from pathlib import Path

# The kernel gives no more of such a file at once. No file that is read here is longer.
BYTES = 1 << 12


def read(file: Path) -> str:
    """Return what is in a file of the kernel's."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, BYTES).decode()
    finally:
        os.close(descriptor)


def write(file: Path, value: int | str) -> None:
    """Write to a file of the kernel's."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)
