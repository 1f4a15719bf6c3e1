"""Imports of Airflow's own modules that Airflow 3.3 does not have. ruff renames what a file uses, and leaves them."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from airfleet.operations.migration.findings import Handling, MigrationFinding
from airfleet.operations.migration.source_rules import Edit, apply
from airfleet.releases.checks.source import SourceFile, last_name, text_of

MODULES = Path(__file__).with_name("airflow_modules.json")
# The new module of names that are used as before. `airflow.sdk` has what ruff rewrites.
MOVED: Mapping[str, str] = {
    "airflow.utils.weekday.WeekDay": "airflow.providers.standard.utils.weekday",
    "airflow.datasets.metadata.Metadata": "airflow.sdk",
    "airflow.datasets.DatasetAlias": "airflow.sdk",
}
# ruff 0.17.6 writes the name of this package without its last letter.
_MISSPELT = ("airflow.providers.standard.sensor.", "airflow.providers.standard.sensors.")
_INSTEAD = {
    "airflow.operators.python.is_venv_installed": "ask shutil.which('virtualenv') instead",
    "airflow.operators.subdag.SubDagOperator": "",  # a rule of its own says it
}
_WIDTH = 88


@dataclass(frozen=True, slots=True)
class _Gone:
    node: ast.Import | ast.ImportFrom
    alias: ast.alias
    whole: str
    is_used: bool
    is_top: bool


def mend(source: SourceFile, old: SourceFile) -> tuple[str, tuple[MigrationFinding, ...]]:
    """Return the text without imports that fail and that nothing uses, and all imports that fail.

    `source` is the file after ruff's rewrite. The findings have the lines of `old`, the file before.
    """
    gone = list(_find_gone(source))
    edits = [_edit(source, node, [one for one in gone if one.node is node]) for node in _nodes(gone)]
    lines = {(module, inner): line for module, inner, _, line in old.imports}
    found = []
    for one in gone:
        module = one.node.module or "" if isinstance(one.node, ast.ImportFrom) else one.alias.name
        line = lines.get((module, one.alias.name if isinstance(one.node, ast.ImportFrom) else ""), one.node.lineno)
        action = _INSTEAD.get(one.whole, "find what replaces it in Airflow's guide to upgrading to 3")
        verdict = Handling.BROKEN
        moved = _find_new_module(one.whole)
        if moved and one.whole.startswith(_MISSPELT[0]):
            continue  # the finding is ruff's own
        if moved or not one.is_used:
            verdict = Handling.REWRITTEN
            action = f"import it from {moved}" if moved else "the import is removed; nothing uses it"
        if action:
            why = "Airflow 3.3 has no such name, so the file does not load"
            found.append(
                MigrationFinding(source.path, line, "import", verdict, f"import of `{one.whole}`", why, action)
            )
    return apply(source.text, [edit for edit in edits if edit]), tuple(found)


def _nodes(gone: list[_Gone]) -> list[ast.Import | ast.ImportFrom]:
    return list({id(one.node): one.node for one in gone}.values())


def _find_gone(source: SourceFile) -> Iterator[_Gone]:
    guarded = {
        id(part)
        for node in source.nodes
        if (isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING") or isinstance(node, ast.Try)
        for part in ast.walk(node)
    }
    used = {node.id for node in source.nodes if isinstance(node, ast.Name)}
    used |= {text_of(node) for node in source.nodes if isinstance(node, ast.Constant)}
    top = {id(node) for node in source.tree.body}
    for node in source.nodes:
        if id(node) in guarded or not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            continue
        for alias in node.names:
            module, name = (node.module or "", alias.name) if isinstance(node, ast.ImportFrom) else (alias.name, "")
            if not _is_importable(module, name):
                bound = alias.asname or alias.name.partition(".")[0]
                whole = f"{module}.{name}" if name else module
                yield _Gone(node, alias, whole, bound in used or alias.name == "*", id(node) in top)


def _find_new_module(whole: str) -> str:
    wrong, right = _MISSPELT
    if whole.startswith(wrong):
        return whole.replace(wrong, right).rpartition(".")[0]
    return MOVED.get(whole, "")


def _is_importable(module: str, name: str) -> bool:
    parts = module.split(".")
    # Other providers have versions of their own, and are not in the list.
    if parts[0] != "airflow" or parts[1:2] == ["example_dags"]:
        return True
    if parts[1:2] == ["providers"] and parts[2:3] != ["standard"]:
        return True
    known = _read_modules()
    if f"{module}.{name}" in known:
        return True
    if module not in known:
        return False
    names = known[module]
    return names is None or not name or name in names or "*" in names


@cache
def _read_modules() -> Mapping[str, list[str] | None]:
    found: dict[str, list[str] | None] = json.loads(MODULES.read_text())
    return found


def _edit(source: SourceFile, node: ast.Import | ast.ImportFrom, gone: list[_Gone]) -> Edit | None:
    if isinstance(node, ast.Import):
        return None
    dropped = {one.alias for one in gone if not one.is_used}
    moved = {one.alias: module for one in gone if one.is_used and (module := _find_new_module(one.whole))}
    if not dropped and not moved:
        return None
    kept = [alias for alias in node.names if alias not in dropped and alias not in moved]
    statements = [ast.ImportFrom(node.module, kept, 0)] if kept else []
    statements += [ast.ImportFrom(module, [alias], 0) for alias, module in moved.items()]
    indent = " " * node.col_offset
    text = f"\n{indent}".join(_write(one, indent) for one in statements)
    end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
    lines = source.text.encode().splitlines()
    is_alone = not lines[node.lineno - 1][: node.col_offset].strip() and not lines[end[0] - 1][end[1] :].strip()
    if not text and gone[0].is_top and is_alone and end[0] < len(lines):
        return Edit((node.lineno, 0), (end[0] + 1, 0), lambda _: "")
    return Edit((node.lineno, node.col_offset), end, lambda _: text or "pass")


def _write(node: ast.ImportFrom, indent: str) -> str:
    line = ast.unparse(node)
    if len(line) + len(indent) <= _WIDTH:
        return line
    names = "".join(f"\n{indent}    {ast.unparse(alias)}," for alias in node.names)
    return f"from {node.module} import ({names}\n{indent})"
