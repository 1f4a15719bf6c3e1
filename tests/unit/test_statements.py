"""SQL in files: code and files name the same statements."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from airfleet_provider.contract import statements

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "src", ROOT / "provider" / "src", ROOT / "bench")


def list_modules() -> list[Path]:
    paths = [path for folder in FOLDERS for path in sorted(folder.rglob("*.py"))]
    return [path for path in paths if "= Statements(__package__" in path.read_text("utf-8")]


def find_used(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Name("SQL") | ast.Attribute(attr="SQL"), slice=ast.Constant(str(name))):
                yield name


@pytest.mark.parametrize("module", list_modules(), ids=lambda path: path.stem)
def test_what_is_asked_for_is_there_and_what_is_there_is_asked_for(module: Path) -> None:
    tree = ast.parse(module.read_text("utf-8"))
    (file,) = [
        node.args[1].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Statements"
        if isinstance(node.args[1], ast.Constant)
    ]
    used = {name for path in module.parent.glob("*.py") for name in find_used(ast.parse(path.read_text("utf-8")))}
    there = statements.parse((module.parent / f"{file!s}.sql").read_text("utf-8")).keys()
    assert set(find_used(tree)) <= there
    assert there <= used


def test_comments_above_a_statement_are_none_of_it() -> None:
    text = "-- A file.\n\n-- name: one\n-- Why.\n-- More.\nSELECT 1\n    -- inside\n\n-- name: two\nSELECT 2;\n"
    assert statements.parse(text) == {"one": "SELECT 1\n    -- inside", "two": "SELECT 2;"}


def test_no_name_is_there_twice() -> None:
    with pytest.raises(ValueError, match="one"):
        statements.parse("-- name: one\nSELECT 1\n-- name: one\nSELECT 2\n")
