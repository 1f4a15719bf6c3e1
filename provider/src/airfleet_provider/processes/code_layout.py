"""Puts the code that forks of this process run side by side in memory.

A call of a function writes to the reference counter of its code, so a fork copies the page on which the code lies.
After an import, the code that a fork runs lies between the code that none runs.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from array import array
from collections.abc import Callable, Collection
from types import CodeType, FunctionType

from airfleet_provider.processes import heap, lifecycle
from airfleet_provider.processes.polling import wait_readable

# Seconds after which the calls are given up.
PATIENCE_S = 20.0


def gather(run: Callable[[], object]) -> int:
    """Move the code of the functions that `run` calls to places side by side. Return how many pieces of code moved.

    `run` is called in a fork of this process, which then ends, so it may change whatever it wants. Functions stay the
    objects that they are. This process has one thread, and calls this before `heap.prepare_forks`, which hides them.
    """
    return move(list_run(run))


def move(addresses: Collection[int]) -> int:
    """Replace pieces of code by copies that are made one after the other. Return how many there are."""
    functions = [one for one in gc.get_objects() if type(one) is FunctionType and id(one.__code__) in addresses]
    functions.sort(key=lambda one: (one.__code__.co_filename, one.__code__.co_firstlineno))
    heap.fill_gaps()  # the copies would lie in them
    # Functions that share their code go on to share it. The former code stays until all have moved.
    copies: dict[int, tuple[CodeType, CodeType]] = {}
    for function in functions:
        code = function.__code__
        if id(code) not in copies:
            copies[id(code)] = code, code.replace()
        function.__code__ = copies[id(code)][1]
    return len(copies)


def list_run(run: Callable[[], object]) -> frozenset[int]:
    """Return the addresses of the pieces of code that `run` calls in a fork; none if the fork fails."""
    parent = os.getpid()
    reader, writer = os.pipe()
    try:
        child = os.fork()
    except OSError:  # there is no memory for it
        os.close(reader)
        os.close(writer)
        return frozenset()
    if child == 0:
        try:
            lifecycle.die_with(parent)
            os.close(reader)
            addresses = array("Q", _record(run))
            with os.fdopen(writer, "wb") as told:
                told.write(addresses.tobytes())
        finally:
            os._exit(0)
    os.close(writer)
    found = array("Q")
    with os.fdopen(reader, "rb") as told:
        if wait_readable([told], PATIENCE_S):
            # A child that dies while it writes may leave a part of a number.
            text = told.read()
            found.frombytes(text[: len(text) - len(text) % found.itemsize])
        else:
            os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)
    return frozenset(found)


def _record(run: Callable[[], object]) -> list[int]:
    """Call `run`, and return the address of each piece of code that was called. They stay in memory until then."""
    seen: dict[int, CodeType] = {}

    def note(frame: object, event: str, _: object) -> None:
        if event == "call":
            code = frame.f_code  # type: ignore[attr-defined]
            seen[id(code)] = code

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return list(seen)
