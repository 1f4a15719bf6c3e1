"""The heap of a process that forks: what it keeps from being copied into its forks.

A fork shares each page of memory with its parent until one of them writes to it. The allocator of Python puts a new
object into the first gap of its size between older objects. So a fork that makes some objects copies the pages around
the gaps, with everything else on them.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import logging
import os
import re
import sys
import threading
import types
from collections import abc, defaultdict, deque
from datetime import date, datetime, timedelta
from numbers import Number
from pathlib import PosixPath
from typing import Any

from airfleet_provider.processes import immortal_objects, libc

# A line of sys._debugmallocstats: class, size of a block, pools, blocks in use, free blocks.
LINE = re.compile(rb"^\s*\d+\s+(\d+)\s+\d+\s+\d+\s+(\d+)\s*$", re.MULTILINE)
# The bytes of an empty `bytes` object, and of the smallest objects, which are no `bytes`.
EMPTY = sys.getsizeof(b"")
FLOAT, PLAIN = 32, 16
# Python keeps so many floats for later, and so many more are needed before it takes a new block.
SPARE_FLOATS = 100
# The first `isinstance` of a type and one of these classes looks at every class that inherits from the latter.
ABSTRACT: tuple[Any, ...] = (
    *(abc.Mapping, abc.MutableMapping, abc.Sequence, abc.MutableSequence, abc.Set, abc.MutableSet),
    *(abc.Iterable, abc.Iterator, abc.Generator, abc.Callable, abc.Hashable, abc.Sized, abc.Collection, abc.Container),
    *(abc.Reversible, abc.Awaitable, abc.Coroutine, abc.AsyncIterable, abc.AsyncIterator, abc.AsyncGenerator),
    *(contextlib.AbstractContextManager, contextlib.AbstractAsyncContextManager, os.PathLike, Number),
)
USUAL = (
    *(str, bytes, int, float, bool, type(None), type(Ellipsis), object, type, slice, range, property),
    *(list, tuple, dict, set, frozenset, deque, defaultdict, date, datetime, timedelta, PosixPath),
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, types.GeneratorType),
    *(types.CoroutineType, types.MappingProxyType, types.SimpleNamespace, ValueError, KeyError, OSError),
)


def prepare_forks() -> None:
    """Make this process ready to fork.

    Its forks share all objects that there are by now, do not examine them in a garbage collection, and put theirs
    elsewhere. What this fills and freezes stays until the process ends, so a process that lives long calls it only
    before its first forks.
    """
    gc.collect()
    give_back_free_memory()
    fill_gaps()
    gather_loggers()
    remember_types()
    immortal_objects.keep_code()
    fill_gaps()
    gc.freeze()


def settle() -> None:
    """Leave all objects that there are by now out of garbage collections, and give back what is free.

    It is for a fork of a prepared process that forks little itself: to fill gaps again would copy 2 MiB.
    """
    gc.collect()
    give_back_free_memory()
    gc.freeze()


def skip_last_collection() -> None:
    """Let the exit of this process examine no objects: they all end with it. Whatever `atexit` does comes before.

    An object in a cycle is not finalized then, which Python promises to nobody. It is for servers, whose exit delays
    their next start.
    """
    atexit.register(gc.freeze)


def give_back_free_memory() -> None:
    """Return to the kernel what the allocator of C keeps free. An allocator that cannot do this keeps it."""
    with contextlib.suppress(AttributeError, OSError):  # glibc has the function, musl has not
        libc.find().malloc_trim(0)


def fill_gaps() -> None:
    """Fill the gaps between the objects of this process until it ends."""
    fillers: list[object] = []
    for size, count in count_gaps().items():
        if size > EMPTY:
            fillers += [bytes(size - EMPTY) for _ in range(count)]
        elif size == FLOAT:
            fillers += [1.5 + number for number in range(count + SPARE_FLOATS)]
        elif size == PLAIN:
            fillers += [object() for _ in range(count)]
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(fillers))  # no frame and no module has to keep them


def gather_loggers() -> None:
    """Put what is written of every logger side by side: a fork that sets one level touches all loggers."""
    lock = getattr(logging, "_lock", threading.RLock())  # other threads may ask for new loggers
    with lock:
        known = logging.root.manager.loggerDict
        found = [(name[:1] + name[1:], one) for name, one in known.items()]
        known.clear()
        known.update(found)
        for _, one in found:
            if isinstance(one, logging.Logger):
                with contextlib.suppress(AttributeError):  # a class of somebody else may have no such attribute to set
                    one.handlers = list(one.handlers)
                    one._cache = {}  # type: ignore[attr-defined]


def remember_types() -> None:
    """Let Python remember to which abstract classes the usual types belong: to find out, it writes to all classes."""
    for abstract in ABSTRACT:
        for usual in USUAL:
            with contextlib.suppress(Exception):  # a class of somebody else may refuse to be compared
                issubclass(usual, abstract)


def count_gaps() -> dict[int, int]:
    """Return how many free blocks of each size in bytes lie between others. It is empty if Python does not say.

    It calls what sys._debugmallocstats calls, with a stream in memory in place of stderr, to which threads may write.
    """
    tell = getattr(ctypes.pythonapi, "_PyObject_DebugMallocStats", None)
    own = libc.find()
    if tell is None or not hasattr(own, "open_memstream"):
        return {}
    own.open_memstream.restype = ctypes.c_void_p
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    stream = ctypes.c_void_p(own.open_memstream(ctypes.byref(text), ctypes.byref(size)))
    if not stream:
        return {}
    tell(stream)
    own.fclose(stream)
    if not text:
        return {}
    table = ctypes.string_at(text, size.value)
    own.free(text)
    return read_gaps(table)


def read_gaps(table: bytes) -> dict[int, int]:
    """Return how many free blocks of each size the table of an allocator shows."""
    return {int(size): int(count) for size, count in LINE.findall(table)}
