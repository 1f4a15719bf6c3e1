"""Free memory in a heap goes back to the kernel."""

from __future__ import annotations

import subprocess
import sys

# Every second block is freed, and the last one is kept, so the heap has holes and cannot shrink from its end.
PROGRAM = """
import ctypes
import pathlib

from airfleet_provider.processes import heap


def measure():
    lines = pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


blocks = [bytearray(20_000) for _ in range(4_000)]
for block in blocks:
    block[:] = b"x" * len(block)
pins = blocks[::100]
del blocks, block
before = measure()
heap.give_back_free_memory()
print(before - measure())
"""


def test_memory_that_is_free_below_memory_in_use_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=600)
    assert int(done.stdout) > 30_000, "KiB of the 78,000 that are free"
