"""SQL in files: code and files name the same statements."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from airfleet_provider.contract import statements

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "src", ROOT / "provider" / "src", ROOT / "bench")


def list_modules() -> list[Path]:
    paths = [path for folder in FOLDERS for path in sorted(folder.rglob("*.py"))]
    return [path for path in paths if "= Statements(__package__" in path.read_text("utf-8")]


@functools.cache
def parse(path: Path) -> ast.Module:
    """Return the syntax of a module. Several tests read the modules of one package."""
    return ast.parse(path.read_text("utf-8"))


@functools.cache
def list_used(path: Path) -> tuple[tuple[str, str], ...]:
    return tuple(find_used(parse(path))) if "SQL[" in path.read_text("utf-8") else ()


def find_used(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield each name of a statement that code asks for, with the module whose SQL it is; its own has no name."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Name("SQL"), slice=ast.Constant(str(name))):
                yield "", name
            case ast.Subscript(value=ast.Attribute(value=ast.Name(owner), attr="SQL"), slice=ast.Constant(str(name))):
                yield owner, name


@pytest.mark.parametrize("module", list_modules(), ids=lambda path: path.stem)
def test_what_is_asked_for_is_there_and_what_is_there_is_asked_for(module: Path) -> None:
    tree = parse(module)
    (file,) = [
        node.args[1].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Statements"
        if isinstance(node.args[1], ast.Constant)
    ]
    asked = {one for path in module.parent.glob("*.py") for one in list_used(path)}
    own = {name for owner, name in list_used(module) if not owner}
    others = {name for owner, name in asked if owner == module.stem}
    there = statements.parse((module.parent / f"{file!s}.sql").read_text("utf-8")).keys()
    assert own | others <= there
    assert there <= {name for _, name in asked}


def test_comments_above_a_statement_are_none_of_it() -> None:
    text = "-- A file.\n\n-- name: one\n-- Why.\n-- More.\nSELECT 1\n    -- inside\n\n-- name: two\nSELECT 2;\n"
    assert statements.parse(text) == {"one": "SELECT 1\n    -- inside", "two": "SELECT 2;"}


def test_no_name_is_there_twice() -> None:
    with pytest.raises(ValueError, match="one"):
        statements.parse("-- name: one\nSELECT 1\n-- name: one\nSELECT 2\n")
