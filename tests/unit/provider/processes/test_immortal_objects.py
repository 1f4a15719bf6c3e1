"""A fork calls functions of its parent without a copy of their pages, where Python has immortal objects."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import airfleet_provider
from deadline import COMMAND_S

SOURCE = Path(airfleet_provider.__file__).parent.parent
# The versions of Python on which the platform runs. The module needs nothing but Python.
VERSIONS = ("3.11", "3.12", "3.13")

# Functions lie on pages all over the heap, each between objects that no fork uses.
CALLS = """
import os, resource, sys
from airfleet_provider.processes import heap, immortal_objects

functions, others = [], []
for number in range(4_000):
    scope = {}
    exec(f"def work{number}():\\n return str, 'constant {number}', (1.5, {number + 1000})", scope)
    functions.append(scope[f"work{number}"])
    others.append([bytes(600) for _ in range(6)])
if sys.argv[1] == "counted":
    immortal_objects.keep_code = int
heap.prepare_forks()
if (child := os.fork()) == 0:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for function in functions:
        function()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""

# What somebody waits for the end of ends as ever, and Python's own work with immortal objects goes on to its exit.
LIVES = """
import asyncio, gc, sys
from airfleet_provider.processes import immortal_objects

class Resource:
    def __del__(self):
        print("end", end=" ")

class Owner:
    pass

def enclose():
    inside = Resource()
    return lambda: inside

def wrap(function):
    return lambda: function

def begin():
    global early
    early = lambda: late
    immortal_objects.keep_code()
    late = Resource()

def borrow():
    return "a constant", (1.5, ("more", 2.5))

one, in_list, in_dict, in_tuple, owner = Resource(), [Resource()], {1: Resource()}, (Resource(),), Owner()
owner.resource = Resource()
owner.__dict__
begin()
bound, wrapped, called = [Resource()].append, wrap(enclose()), wrap([Resource()].append)
closure, data, file = enclose(), [number + 0.5 for number in range(1000)], open(sys.argv[1], "w")
immortal_objects.keep_code()
print(sys.getrefcount(borrow) > 1 << 31, sys.getrefcount(borrow()[1][1]) > 1 << 31)
print(sys.getrefcount(data[5]) < 9, sys.getrefcount(data) < 9, immortal_objects.keep_code() < 20)
del one, in_list, in_dict, in_tuple, owner, closure, early, bound, wrapped, called
# Python goes on to build a tuple that it had begun.
print(len(tuple(number for number in range(50) if immortal_objects.keep_code() < 20)))
gc.freeze(); gc.unfreeze(); gc.collect()
asyncio.run(asyncio.sleep(0))
text = "".join(["a", "b%d" % len(sys.argv)])
print(sys.intern(text), list(zip("ab", borrow()))[0], "{}{}".format(*borrow()[1]))
file.write("the exit writes it")
"""


@cache
def find(version: str) -> str | None:
    """Return the interpreter of a version of Python, or None."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    found = shutil.which(f"python{version}")
    if found and subprocess.run([found, "-c", ""], capture_output=True, timeout=COMMAND_S, check=False).returncode == 0:
        return found
    return None


def run(version: str, program: str, *words: str) -> str:
    interpreter = find(version)
    if interpreter is None:
        pytest.skip(f"there is no python{version} on this machine")
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [interpreter, "-c", program, *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=COMMAND_S, env=environment
    ).stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_a_fork_that_calls_what_its_parent_has_imported_copies_fewer_pages(version: str) -> None:
    counted, kept = (int(run(version, CALLS, how)) for how in ("counted", "kept"))
    if version == "3.11":
        assert kept > counted / 2, "it has no immortal objects"
    else:
        assert kept < counted / 2


@pytest.mark.parametrize("version", VERSIONS)
def test_what_code_does_not_own_ends_and_python_goes_on_with_what_is_kept(version: str, tmp_path: Path) -> None:
    has = str(version != "3.11")
    said = run(version, LIVES, str(tmp_path / "file")).splitlines()
    assert said == [
        f"{has} {has}",
        "True True True",
        "end " * 10 + "50",
        "ab2 ('a', 'a constant') 1.5('more', 2.5)",
    ]
    assert (tmp_path / "file").read_text() == "the exit writes it"
