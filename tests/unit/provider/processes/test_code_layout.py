"""A fork copies fewer pages if the code that it runs lies side by side, and every function does what it did."""

from __future__ import annotations

import functools
import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from airfleet_provider.processes import code_layout
from deadline import COMMAND_S

# One function of twenty is called in the fork.
PROGRAM = """
import gc
import os
import pathlib
import sys

from airfleet_provider.processes import code_layout


def measure():
    lines = pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


functions = []
for number in range(8000):
    space = {}
    exec(f"def work(a, b={number}):\\n    return a + b", space)
    functions.append(space["work"])


def run():
    return sum(one(1) for one in functions[::20])


expected = run()
if sys.argv[1] == "gathered":
    assert code_layout.gather(run) > 400
gc.freeze()
reader, writer = os.pipe()
if os.fork() == 0:
    before = measure()
    assert run() == expected
    os.write(writer, str(measure() - before).encode())
    os._exit(0)
os.wait()
print(os.read(reader, 20).decode())
"""


def copy_kib(how: str) -> int:
    """Return how many KiB of memory a fork copies that calls the functions."""
    command = [sys.executable, "-c", PROGRAM, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=COMMAND_S).stdout)


def test_a_fork_copies_less_of_code_that_was_gathered() -> None:
    assert copy_kib("gathered") < 0.8 * copy_kib("scattered")


def make_counter(start: int) -> functools.partial[int]:
    """Return a function with a default, a keyword and a variable of its maker."""

    def count(step: int, *, times: int = 2) -> int:
        return start + step * times

    return functools.partial(count, times=3)


class Pair:
    """Methods of each kind."""

    def __init__(self, first: int) -> None:
        self.first = first

    @property
    def second(self) -> int:
        return self.first + 1

    @classmethod
    def make(cls) -> Pair:
        return cls(4)

    def __iter__(self) -> Iterator[int]:
        yield self.first
        yield self.second


def describe() -> tuple[object, ...]:
    """Return what the functions above return."""
    return make_counter(1)(2), make_counter(5)(2), list(Pair(1)), list(Pair.make())


def test_functions_do_what_they_did_and_stay_what_they_are() -> None:
    before, method, code = describe(), Pair.__init__, Pair.__init__.__code__
    running = iter(Pair(7))
    assert next(running) == 7
    gc.unfreeze()  # a runner of tests may have frozen what it imported, and then nobody finds it
    assert code_layout.gather(describe) >= 5
    assert describe() == before
    assert Pair.__init__ is method
    assert Pair.__init__.__code__ is not code
    assert Pair.__init__.__code__ == code
    assert list(running) == [8], "a generator that has begun goes on"
    assert sys.getprofile() is None


def test_a_run_that_fails_moves_nothing_and_is_not_seen_outside_its_process(capfd: pytest.CaptureFixture[str]) -> None:
    changed: list[int] = []

    def fail() -> None:
        changed.append(1)
        raise RuntimeError("no")

    assert code_layout.gather(fail) == 0
    assert not changed
    assert capfd.readouterr().err == ""
