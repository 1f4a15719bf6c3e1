"""Which files of a release a Dag file imports, found in its syntax tree without executing it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from airfleet_provider.contract import python_source


@dataclass(frozen=True, slots=True)
class Imports:
    """The files of its release that one Python file imports; `everything` if only executing it would show them."""

    paths: frozenset[str]
    everything: bool


class ImportGraph:
    """The import graph of a release; each file is read once.

    `memory` carries the imports over to the next release: they stay valid while the file's digest and the release's
    list of paths are the same.
    """

    def __init__(
        self, contents: Mapping[str, bytes], digests: Mapping[str, str], memory: dict[object, Imports] | None = None
    ) -> None:
        self._contents = contents
        self._digests = digests
        self._memory = {} if memory is None else memory
        self._paths = tuple(sorted(contents))

    def of(self, path: str) -> frozenset[str]:
        """Return the file itself and all files of the release that it imports, directly or indirectly."""
        found: set[str] = set()
        pending = [path]
        while pending:
            current = pending.pop()
            if current in found:
                continue
            found.add(current)
            imports = self._read(current)
            if imports.everything:
                return frozenset(self._contents)
            pending.extend(imports.paths - found)
        return frozenset(found)

    def _read(self, path: str) -> Imports:
        key = (path, self._digests[path], self._paths)
        if key not in self._memory:
            self._memory[key] = read_imports(path, self._contents)
        return self._memory[key]


def read_imports(path: str, contents: Mapping[str, bytes]) -> Imports:
    """Return the files of the release that one file imports; a file that Python cannot read imports nothing."""
    tree = python_source.parse(contents[path])
    if tree is None:
        return Imports(frozenset(), everything=False)
    package = PurePosixPath(path).parent.parts
    roots = {(), ("dags",), package}  # all folders that may be on sys.path; an extra root costs a parse at most
    found: set[str] = set()
    everything = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                for root in roots:
                    found.update(_find((*root, *alias.name.split(".")), contents))
        elif isinstance(node, ast.ImportFrom):
            for base in _resolve(node, package, roots):
                found.update(_find(base, contents))
                for alias in node.names:
                    found.update(_find((*base, alias.name), contents))
                    everything |= alias.name == "*" and _is_package(base, contents)
        elif isinstance(node, ast.Call) and _is_dynamic(node):
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and not name.value.startswith("."):
                for root in roots:
                    found.update(_find((*root, *name.value.split(".")), contents))
            else:
                everything = True
        everything |= _touches_path(node)
    return Imports(frozenset(found), everything)


def _resolve(
    node: ast.ImportFrom, package: tuple[str, ...], roots: Iterable[tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    module = tuple(node.module.split(".")) if node.module else ()
    if node.level == 0:
        for root in roots:
            yield (*root, *module)
    elif node.level - 1 <= len(package):
        yield package[: len(package) - (node.level - 1)] + module


def _find(module: tuple[str, ...], contents: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the file of a module, and the `__init__.py` of every package that contains it."""
    for depth in range(1, len(module) + 1):
        package = "/".join((*module[:depth], "__init__.py"))
        if package in contents:
            yield package
    if module and (path := "/".join(module) + ".py") in contents:
        yield path


def _is_package(module: tuple[str, ...], contents: Mapping[str, bytes]) -> bool:
    # `from package import *` imports what the package's __all__ names.
    return bool(module) and "/".join((*module, "__init__.py")) in contents


def _is_dynamic(node: ast.Call) -> bool:
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in {"import_module", "__import__", "import_string", "spec_from_file_location", "run_path", "exec"}


def _touches_path(node: ast.AST) -> bool:
    # Code that changes sys.path can import any file under any name.
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "path"
        and isinstance(node.value, ast.Name)
        and node.value.id == "sys"
    )
