"""Whether tasks may share one load of a Dag file, decided from its text; `load_audit` decides from the load."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from airfleet_provider.contract import directives, python_source

# Functions whose value differs for each task.
PER_TASK = frozenset({"get_parsing_context"})


def find_objection(source: str) -> str | None:
    """Return why each task must load this module itself, or None if tasks may share one load."""
    tree = python_source.parse(source)
    if tree is None:
        return "it does not load"
    for name, line, value in directives.read(tree):
        if name == directives.REPARSE_EVERY:
            return f"line {line}: {name}"
        if not value:
            return f"line {line}: {name} = {value}"
    try:
        for call in _walk_loading(tree):
            name = _name_of(call.func)
            # In stock Airflow each task loads the file, so each task has its own value of these calls.
            if directives.is_clock(call, name) or name in PER_TASK:
                return f"line {call.lineno}: {name}() while loading"
    except RecursionError:
        return "it is nested too deeply to be searched"
    return None


def _walk_loading(node: ast.AST) -> Iterator[ast.Call]:
    """Yield every call that may run while the module loads.

    Skips the bodies of functions, except those decorated as a Dag or task group, which run during the load.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Lambda):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk_function(child)
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from _walk_loading(child)


def _walk_function(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    for decorator in function.decorator_list:
        yield from (one for one in ast.walk(decorator) if isinstance(one, ast.Call))
    defaults = [*function.args.defaults, *filter(None, function.args.kw_defaults)]
    for default in defaults:
        yield from (one for one in ast.walk(default) if isinstance(one, ast.Call))
    makers = {_name_of(one.func if isinstance(one, ast.Call) else one) for one in function.decorator_list}
    if makers & {"dag", "task_group"}:
        for statement in function.body:
            yield from _walk_loading(ast.Module(body=[statement], type_ignores=[]))


def _name_of(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
