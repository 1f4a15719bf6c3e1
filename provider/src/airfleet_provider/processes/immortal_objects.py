"""Makes objects of a process immortal, so that its forks use them without a write to their reference counters.

An object whose counter has a certain value is immortal since Python 3.12 (PEP 683): Python does not count its
references any more, and never frees it. Python itself makes only some constants immortal. A use of any other object
writes to its counter, so a fork copies the page on which the object lies.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import sysconfig
import types
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

# The counter of an immortal object: its lower half, all bits set. Python 3.14 has another one.
IMMORTAL = 0xFFFFFFFF
VERSIONS = ((3, 12), (3, 13))
# What lives as long as its process anyway once it is imported. Containers and instances are left out: they own what may
# be a file, a lock or a connection, whose end somebody waits for, or data of a user, who may want the memory back.
KINDS = (
    *(types.FunctionType, types.CodeType, types.ModuleType, property, staticmethod, classmethod),
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType),
    *(types.GetSetDescriptorType, types.MemberDescriptorType, types.ClassMethodDescriptorType),
)
# What these refer to, and what refers to nothing.
CONSTANTS = (str, bytes, int, float, types.CodeType)


def keep_code() -> int:
    """Make the modules, classes, functions and their constants in this process immortal; return how many.

    None of them is freed until the process ends. So it is for a process that is about to fork, like `gc.freeze`. Where
    Python has no immortal objects, nothing happens. A function whose closure has anything else is left as it is.
    """
    if not _can():
        return 0
    kinds, constants = {*KINDS, *_list_metaclasses(type)}, set(CONSTANTS)
    allowed = kinds | constants | {type(None)}
    tracked = _list_mortal(one for one in gc.get_objects() if type(one) in kinds)
    found = {key: one for key, one in tracked.items() if _owns_nothing(one, allowed)}
    count = 0
    while found:
        found |= _list_mortal(_list_parts(found.values()))
        for address in found:
            ctypes.c_uint32.from_address(address).value = IMMORTAL
        count += len(found)
        found = _list_mortal(one for one in gc.get_referents(*found.values()) if type(one) in constants)
    return count


def _list_mortal(objects: Iterable[object]) -> dict[int, object]:
    """Return each object that is not immortal once, by its address: a write to the others would copy their pages."""
    return {id(one): one for one in objects if sys.getrefcount(one) < IMMORTAL}


def _owns_nothing(one: object, allowed: Collection[type]) -> bool:
    """Return whether what a function encloses, or a method of C is bound to, has allowed types and owns nothing."""
    return all(type(each) in allowed and not _list_owned(each) for each in _list_owned(one))


def _list_owned(one: object) -> Sequence[object]:
    if type(one) is types.BuiltinFunctionType:
        return (one.__self__,)
    if type(one) is not types.FunctionType:
        return ()
    try:
        return [cell.cell_contents for cell in one.__closure__ or ()]
    except ValueError:  # a cell has no content yet, and may get any
        return (one.__closure__,)


def _can() -> bool:
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in VERSIONS:
        return False
    if (
        sys.byteorder != "little"
        or sys.maxsize < 2**32
        or hasattr(sys, "gettotalrefcount")
        or hasattr(sys, "getobjects")
    ):
        return False  # 32 bits, or a debug build, which checks the counters
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    # Another layout of objects shows in the counter of an object that is immortal in each of these versions.
    return ctypes.c_uint64.from_address(id(None)).value == IMMORTAL == sys.getrefcount(None)


def _list_metaclasses(one: type) -> Iterator[type]:
    yield one
    below: type
    for below in type.__subclasses__(one):
        yield from _list_metaclasses(below)


def _list_parts(objects: Iterable[Any]) -> Iterator[object]:
    """Yield what belongs to pieces of code, functions and classes alone. Its types say nothing of what is in it."""
    for one in objects:
        if type(one) is types.CodeType:
            yield from (one.co_names, one.co_consts, *_list_constants(one.co_consts))
        elif type(one) is types.FunctionType:
            yield from one.__closure__ or ()
        elif isinstance(one, type):
            yield from (one.__mro__, one.__bases__)


def _list_constants(group: Iterable[object]) -> Iterator[object]:
    """Yield the tuples and sets in the constants of a piece of code, which have constants only."""
    for one in group:
        if isinstance(one, tuple | frozenset):
            yield one
            yield from _list_constants(one)
