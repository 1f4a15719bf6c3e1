"""Parse YAML into plain data, as JSON has it, and remember the line of every key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import yaml

from airfleet.errors import Problem, SpecError

Path = tuple[str | int, ...]

_STR, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}

_SYNTAX_HINTS = {
    "found character '\\t' that cannot start any token": "indent with spaces, not tabs",
    "mapping values are not allowed here": "check the indentation, and quote a text that holds ': '",
    "expected <block end>, but found '<block mapping start>'": "keys of one map start in the same column",
    "but found another document": "keep one document: remove the `---` between the two",
}


class _Loader(yaml.SafeLoader):
    # The scalars of YAML 1.2, as editors read them: `no`, `12:30`, `0777` and `2026-01-31` stay text.
    # A whole number has at most 18 digits, because Python refuses to convert a text of thousands of digits.
    yaml_implicit_resolvers = {}  # noqa: RUF012  (PyYAML's own way to set it)


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]{0,17})", list("-+0123456789")),
    ("float", r"[-+]?[0-9]+(\.[0-9]+([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)", list("-+0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), _first)


class Violation(NamedTuple):
    """A broken rule at a path of the document. `Document.line` finds the line of the path."""

    path: Path
    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """The data of a YAML mapping, an error for each duplicate key, and the line of each path."""

    data: dict[str, object]
    duplicates: tuple[Problem, ...]
    root: yaml.Node | None

    def line(self, path: Path) -> int:
        """Return the line of a path, counted from 1. A path that is not in the file has the line of its parent."""
        node, line = self.root, 1
        for part in path:
            # The last key wins, as in the data: the keys of a merge (`<<`) come before the map's own keys.
            marks = [(key, value) for name, key, value in _children(node) if name == part]
            if not marks:
                break
            key, node = marks[-1]
            line = key.start_mark.line + 1
        return line


def dotted(path: Path) -> str:
    """Return a path as text: `slot_pools.warehouse.slots`, `databases[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def parse(text: str, *, file: str) -> Document:
    """Return the document that a text holds. `file` names the text in errors.

    Raises:
        SpecError: The text is not YAML or not a mapping, or it uses tags, aliases or keys that plain data cannot have.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None or root.tag == "tag:yaml.org,2002:null":
            return Document({}, (), None)
        if not isinstance(root, yaml.MappingNode):
            problem = Problem(root.start_mark.line + 1, "", "expected a map of keys", "write `key: value` lines")
            raise SpecError(file, (problem,))
        duplicates: list[Problem] = []
        others: list[Problem] = []
        for kind, problem in _flaws(root, (), ()):
            (duplicates if kind == "duplicate" else others).append(problem)
        if others:
            raise SpecError(file, (*duplicates, *others))
        data: dict[str, object] = loader.construct_document(root)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(file, (Problem(line, "", "a character that YAML does not allow"),)) from None
    except yaml.MarkedYAMLError as error:
        raise SpecError(file, (_syntax(error),)) from None
    except (KeyError, ValueError):
        # PyYAML does not wrap these errors when a value does not fit its tag, such as `!!int five`.
        raise SpecError(file, (Problem(1, "", "a tag does not fit its value", "write the plain value"),)) from None
    return Document(data, tuple(duplicates), root)


def _syntax(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = error.problem or error.context or "unreadable"
    return Problem(mark.line + 1 if mark else 1, "", f"not valid YAML: {what}", _SYNTAX_HINTS.get(what, ""))


def _children(node: yaml.Node | None) -> Iterator[tuple[object, yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key.value, key, value
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield index, item, item


def _flaws(node: yaml.Node, path: Path, above: tuple[yaml.Node, ...]) -> Iterator[tuple[str, Problem]]:
    """Yield what PyYAML's safe loader accepts and airfleet does not.

    That is duplicate keys, tags, keys that are not text, and aliases that contain themselves.
    """
    line = node.start_mark.line + 1
    if any(node is ancestor for ancestor in above):
        yield "alias", Problem(line, dotted(path), "an alias may not contain itself")
        return
    if node.tag not in _PLAIN:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        yield "tag", Problem(line, dotted(path), f"the tag {tag} is not supported", "write the plain value")
        return
    first: dict[object, int] = {}
    for name, key, value in _children(node):
        line = key.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            if key.tag not in (_STR, _MERGE):
                shown = name if isinstance(key, yaml.ScalarNode) else "a list or a map"
                yield "key", Problem(line, dotted(path), f"a key must be text, found {shown}", "write it in quotes")
                continue
            if name in first:
                what = f"the key {name!r} is given twice, first in line {first[name]}"
                yield "duplicate", Problem(line, dotted((*path, str(name))), what, "keep one of the two")
            first.setdefault(name, line)
        part = name if isinstance(name, int) else str(name)
        yield from _flaws(value, (*path, part), (*above, node))
