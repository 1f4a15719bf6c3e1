"""The directives of a Dag file about its own loads, and the calls whose value depends on the time of a load.

Both are read from the text of the file. The control side's checks use the same lists.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from airfleet_provider.contract import python_source

WARM_START = "AIRFLEET_WARM_START"
REPARSE_EVERY = "AIRFLEET_REPARSE_EVERY"
# Functions whose value depends on the time of the call; `time` is one of them if it is called without arguments.
CLOCKS = frozenset(
    {
        *("now", "utcnow", "today", "yesterday", "tomorrow", "days_ago"),
        *("localtime", "gmtime", "strftime", "time_ns", "monotonic"),
    }
)


def read(tree: ast.Module) -> Iterator[tuple[str, int, object]]:
    """Yield the name, line and constant value of each directive that the module assigns at its top level.

    If the value is not a constant, yield an Ellipsis in its place.
    """
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and target.id in (WARM_START, REPARSE_EVERY):
                yield target.id, node.lineno, value.value if isinstance(value, ast.Constant) else ...


def read_interval(content: bytes) -> int | None:
    """Return the seconds after which a Dag file must be parsed again, or None if it sets no valid interval."""
    if REPARSE_EVERY.encode() not in content:
        return None
    tree = python_source.parse(content)
    if tree is None:
        return None
    for name, _, value in read(tree):
        if name == REPARSE_EVERY and type(value) is int and value > 0:
            return value
    return None


def is_clock(call: ast.Call, name: str) -> bool:
    """Return whether a call of this name returns another value at another time: now(), or time() without arguments."""
    if name == "time":
        return not call.args and not call.keywords
    # time.strftime(format) reads the clock; the method strftime of a datetime does not.
    return name in CLOCKS and (name != "strftime" or _is_of_time(call))


def _is_of_time(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Attribute):
        is_module = isinstance(function.value, ast.Name) and function.value.id == "time"
        return is_module and len(call.args) == 1
    return len(call.args) == 1
