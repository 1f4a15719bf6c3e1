"""Find the variables and connections that a text or a Python file names literally."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from airfleet.releases.checks.source import SourceFile, last_name, text_of

VARIABLE, CONNECTION = "variable", "connection"

_BLOCK = re.compile(r"\{\{(.*?)\}\}|\{%(.*?)%\}", re.DOTALL)
_NAME = r"""(?:\.(?!get\s*\()(\w+)|\[\s*['"]([^'"]+)['"]\s*\]"""
# A call of `get` with a second argument has a default.
_VARIABLE = re.compile(r"(?<![\w.])var\.(?:value|json)" + _NAME + r"""|\.get\(\s*['"]([^'"]+)['"]\s*\))""")
_CONNECTION = re.compile(r"(?<![\w.])conn" + _NAME + ")")
# A call that creates or writes a variable or connection does not use it.
_MAKERS = frozenset({"Connection"})


@dataclass(frozen=True, slots=True)
class NameUsage:
    """The name of a variable or connection, at a line."""

    kind: str
    name: str
    line: int


def find_in_text(text: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and name of each variable and connection that the templates in a text use."""
    if "{{" not in text and "{%" not in text:
        return
    for block in _BLOCK.finditer(text):
        inner = block[1] or block[2] or ""
        for kind, pattern in ((VARIABLE, _VARIABLE), (CONNECTION, _CONNECTION)):
            for match in pattern.finditer(inner):
                yield kind, next(name for name in match.groups() if name)


def find_in_source(source: SourceFile) -> Iterator[NameUsage]:
    """Yield each variable and connection that a file's code and templates use without a default."""
    known = {name: inner for module, inner, name, _ in source.imports if inner and module.startswith("airflow")}
    for call in source.calls:
        yield from _in_call(call, known)
    for node in source.nodes:
        if isinstance(node, ast.Dict):
            yield from _options(
                (text_of(key), value) for key, value in zip(node.keys, node.values, strict=True) if key is not None
            )
    for text, line in source.texts:
        for kind, name in find_in_text(text):
            yield NameUsage(kind, name, line)


def find_written(source: SourceFile) -> frozenset[str]:
    """Return the variables that a file sets itself."""
    sets = [call for call in source.calls if last_name(call.func) == "set" and _owner(call, {}) == "Variable"]
    return frozenset(name for call in sets if (name := _first(call, "key")))


def _in_call(call: ast.Call, known: dict[str, str]) -> Iterator[NameUsage]:
    method, owner = last_name(call.func), _owner(call, known)
    if method == "get" and owner == "Variable":
        has_default = len(call.args) > 1 or any(keyword.arg in ("default", "default_var") for keyword in call.keywords)
        if (name := _first(call, "key")) and not has_default:
            yield NameUsage(VARIABLE, name, call.lineno)
    elif (method == "get" and owner == "Connection") or (
        method in ("get_connection", "get_connection_from_secrets") and owner.endswith(("Hook", "Connection"))
    ):
        if name := _first(call, "conn_id"):
            yield NameUsage(CONNECTION, name, call.lineno)
    elif method not in _MAKERS:
        yield from _options((keyword.arg or "", keyword.value) for keyword in call.keywords)


def _options(pairs: Iterator[tuple[str, ast.expr]]) -> Iterator[NameUsage]:
    for key, value in pairs:
        if key.endswith("conn_id") and (name := text_of(value)) and "{{" not in name:
            yield NameUsage(CONNECTION, name, value.lineno)


def _owner(call: ast.Call, known: dict[str, str]) -> str:
    """Return the class of a method call, by its name in Airflow."""
    if not isinstance(call.func, ast.Attribute):
        return ""
    name = last_name(call.func.value)
    return known.get(name, name)


def _first(call: ast.Call, keyword: str) -> str:
    named = [one.value for one in call.keywords if one.arg == keyword]
    return next((text_of(value) for value in (*call.args[:1], *named)), "")
