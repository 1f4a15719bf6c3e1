"""Memory that a writer of an index frees is not given back to the kernel, which would clear it for the next commit."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deadline import COMMAND_S

# Takes and frees 8 MiB fifty times, as commits do, and tells how many pages the kernel had to clear.
PROGRAM = """
import resource, sys
from airfleet_provider.log_index import memory
if sys.argv[1] == "keep":
    memory.keep_freed()
def take():
    b"x" * (8 << 20)
take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(how: str) -> int:
    command = [sys.executable, "-c", PROGRAM, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=COMMAND_S).stdout)


def test_what_a_commit_frees_is_there_for_the_next_one() -> None:
    if (usual := count_faults("give")) < 1000:
        pytest.skip("this machine has huge pages, or another C library")
    assert count_faults("keep") < usual / 10
