"""Programs that tests and benchmarks write as text import what there is. No type check looks into text."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Where a program may import from, by the first part of the module's name; all other modules are not ours.
SOURCES = {"airfleet": ROOT / "src", "airfleet_provider": ROOT / "provider" / "src"}
SUPPORT = ROOT / "tests" / "support"
IMPORT = re.compile(r"\bfrom ([a-z_][\w.]*) import (\w+(?: as \w+)?(?:, *\w+(?: as \w+)?)*)")
QUOTES = re.compile("\"{3}|'{3}")


def find_module(name: str) -> Path | None:
    """Return the file or package of a module of ours; None if the module is of others."""
    first = name.partition(".")[0]
    source = SOURCES.get(first, SUPPORT)
    path = source / name.replace(".", "/")
    if path.is_dir() or first in SOURCES:
        return path if path.is_dir() else path.with_suffix(".py")
    return path.with_suffix(".py") if path.with_suffix(".py").exists() else None


@cache
def list_names(path: Path) -> frozenset[str]:
    """Return all names that can be imported from a module, and some more: all that its code names."""
    if path.is_dir():
        inner = path / "__init__.py"
        return frozenset(one.stem for one in path.iterdir()) | (list_names(inner) if inner.exists() else frozenset())
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
    return frozenset(found)


def find_wrong(text: str) -> list[str]:
    """Return what the programs in the text of a Python file import and nobody has."""
    wrong = []
    for program in QUOTES.split(text)[1::2]:
        for module, names in IMPORT.findall(program):
            path = find_module(module)
            if path is None:
                continue
            if not path.exists():
                wrong.append(module)
                continue
            asked = (one.partition(" as ")[0].strip() for one in names.split(","))
            wrong += [f"{module}.{name}" for name in asked if name not in list_names(path)]
    return wrong


@pytest.mark.parametrize(
    "folder", ["tests/local", "tests/services", "tests/support", "tests/hosts", "tests/unit", "bench"]
)
def test_programs_in_text_import_what_there_is(folder: str) -> None:
    files = (ROOT / folder).rglob("*.py")
    found = {str(path): wrong for path in files if (wrong := find_wrong(path.read_text("utf-8")))}
    assert found == {}


def test_a_name_that_is_gone_is_found() -> None:
    program = "from airfleet_provider.task_runtime.guard import Guard, Gone\nfrom airfleet.gone import x\nimport json"
    quotes = 3 * '"'
    assert find_wrong(f"P = {quotes}\n{program}\n{quotes}") == [
        "airfleet_provider.task_runtime.guard.Gone",
        "airfleet.gone",
    ]
