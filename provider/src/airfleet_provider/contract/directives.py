"""What a Dag file says about its own loads, and what makes a load belong to one moment; read from its text.

The control side's checks read the same names: whoever is told that a Dag moves with the clock is told by one list.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

WARM_START = "AIRFLEET_WARM_START"
REPARSE_EVERY = "AIRFLEET_REPARSE_EVERY"
# Functions whose value belongs to one moment; `time` is one of them when it is called without arguments.
CLOCKS = frozenset(
    {
        *("now", "utcnow", "today", "yesterday", "tomorrow", "days_ago"),
        *("localtime", "gmtime", "strftime", "time_ns", "monotonic"),
    }
)


def read(tree: ast.Module) -> Iterator[tuple[str, int, object]]:
    """Each directive that the module sets in a line of its own, annotated or not: its name, line and constant value.

    The value of a directive that is not a constant is an Ellipsis.
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
    """The seconds after which a Dag file wants to be evaluated again, if it says so."""
    if REPARSE_EVERY.encode() not in content:
        return None
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return None
    for name, _, value in read(tree):
        if name == REPARSE_EVERY and type(value) is int and value > 0:
            return value
    return None


def is_clock(call: ast.Call, name: str) -> bool:
    """Whether a call by this name gives another value at another moment: now(), or time() without arguments."""
    if name == "time":
        return not call.args and not call.keywords
    # strftime(format) takes the moment from the clock; a moment's own strftime is called on it, with the same words.
    return name in CLOCKS and (name != "strftime" or _is_of_time(call))


def _is_of_time(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Attribute):
        is_module = isinstance(function.value, ast.Name) and function.value.id == "time"
        return is_module and len(call.args) == 1
    return len(call.args) == 1
