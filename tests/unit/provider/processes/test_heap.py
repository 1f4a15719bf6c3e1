"""Free memory in a heap goes back to the kernel, and forks copy little of a heap that is in use."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from airfleet_provider.processes import heap

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


# Each gap is one object wide, and some pages from the next one.
GAPS = """
import os
import pathlib
import sys

from airfleet_provider.processes import heap


def measure():
    lines = pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


objects = [bytes(300) for _ in range(100_000)]
del objects[::40]
if sys.argv[1] == "filled":
    heap.prepare_forks()
reader, writer = os.pipe()
if os.fork() == 0:
    before = measure()
    more = [bytes(300) for _ in range(2_000)]
    os.write(writer, str(measure() - before).encode())
    os._exit(0)
os.wait()
print(os.read(reader, 20).decode())
"""


# Each class is some pages from the next one.
CLASSES = """
import os
import pathlib
import sys
from collections.abc import Mapping

from airfleet_provider.processes import heap


def measure():
    lines = pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


kept = []
for number in range(1000):
    kept.append((type(f"Kind{number}", (Mapping,), {}), [bytes(400) for _ in range(40)]))
if sys.argv[1] == "filled":
    heap.prepare_forks()
reader, writer = os.pipe()
if os.fork() == 0:
    before = measure()
    isinstance([], Mapping)
    os.write(writer, str(measure() - before).encode())
    os._exit(0)
os.wait()
print(os.read(reader, 20).decode())
"""


# A class that nobody can be compared with, as a plugin may have.
REFUSES = """
from collections import abc

from airfleet_provider.processes import heap


class Refusing(type(abc.Mapping)):
    def __subclasscheck__(cls, other):
        raise TypeError("no")


class Strange(abc.Mapping, metaclass=Refusing):
    pass


heap.prepare_forks()
"""


def copy_kib(how: str, program: str = GAPS) -> int:
    """Return how many KiB of memory a fork copies or takes."""
    command = [sys.executable, "-c", program, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout)


def test_a_fork_puts_its_objects_beside_those_of_its_parent_and_not_between_them() -> None:
    assert 3 * copy_kib("filled") < copy_kib("left open")


def test_loggers_are_the_same_after_they_are_put_side_by_side(caplog: pytest.LogCaptureFixture) -> None:
    parent, child = logging.getLogger("heap.one"), logging.getLogger("heap.one.two")
    parent.setLevel(logging.ERROR)
    assert not child.isEnabledFor(logging.INFO)
    heap.gather_loggers()
    assert logging.getLogger("heap.one.two") is child
    assert logging.getLogger("heap.one") is parent
    assert not child.isEnabledFor(logging.INFO)
    parent.setLevel(logging.INFO)
    child.info("it is heard")
    assert "it is heard" in caplog.messages


def test_a_fork_knows_to_which_abstract_classes_a_usual_type_belongs() -> None:
    assert 3 * copy_kib("filled", CLASSES) < copy_kib("left open", CLASSES)


def test_a_class_that_refuses_to_be_compared_ends_no_process() -> None:
    subprocess.run([sys.executable, "-c", REFUSES], check=True, timeout=600)


@pytest.mark.parametrize(
    "text", ["", "class   size   num pools   blocks in use  avail blocks\n-----\n", "no such table"]
)
def test_a_python_that_does_not_say_where_gaps_are_has_none(text: str) -> None:
    assert heap.read_gaps(text.encode()) == {}


# An object that the collection of the exit would finalize, since it is in a cycle and a module refers to it.
EXITS = """
import atexit

from airfleet_provider.processes import heap


class Cycle:
    def __init__(self):
        self.itself = self

    def __del__(self):
        print("finalized")


{call}
atexit.register(print, "exits")
kept = Cycle()
"""


@pytest.mark.parametrize(("call", "said"), [("", "exits\nfinalized\n"), ("heap.skip_last_collection()", "exits\n")])
def test_the_exit_of_a_server_does_what_it_has_to_and_examines_no_objects(call: str, said: str) -> None:
    command = [sys.executable, "-c", EXITS.format(call=call)]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout == said
