"""One Python file of a release: its syntax tree, and the lines at which it makes Dags and tasks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from airfleet_provider.contract import python_source

# These arguments are prose: Airflow does not render templates in them.
PROSE = frozenset({"doc", "doc_md", "doc_rst", "doc_json", "doc_yaml", "description"})


@dataclass(frozen=True, slots=True)
class DagPlace:
    """The lines at which a file makes a Dag. `dag_id` is None if the id is not a literal."""

    dag_id: str | None
    line: int
    last_line: int
    call: ast.Call | None


@dataclass(frozen=True)
class SourceFile:
    """A Python file that is parsed once. If it is not valid Python, its tree is empty."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Return the syntax tree, or an empty tree if Python cannot make one."""
        return python_source.parse(self.text) or ast.Module([], [])

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Return every node of the tree, in the order of lines."""
        return tuple(sorted(ast.walk(self.tree), key=lambda node: (getattr(node, "lineno", 0), _column(node))))

    @cached_property
    def calls(self) -> tuple[ast.Call, ...]:
        """Return every call, in the order of lines."""
        return tuple(node for node in self.nodes if isinstance(node, ast.Call))

    @cached_property
    def texts(self) -> tuple[tuple[str, int], ...]:
        """Return every text that is neither a docstring nor documentation, with its line."""
        prose = {id(node.value) for node in self.nodes if isinstance(node, ast.Expr)}
        prose |= {id(inner) for key, value in self.options if key in PROSE for inner in ast.walk(value)}
        return tuple(
            (node.value, node.lineno)
            for node in self.nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
        )

    @cached_property
    def options(self) -> tuple[tuple[str, ast.expr], ...]:
        """Return every `name=value` of a call and every `"name": value` of a dict."""
        found: list[tuple[str, ast.expr]] = []
        for node in self.nodes:
            if isinstance(node, ast.Call):
                found += [(keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg]
            elif isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                found += [(name, value) for key, value in pairs if key is not None and (name := text_of(key))]
        return tuple(found)

    @cached_property
    def imports(self) -> tuple[tuple[str, str, str, int], ...]:
        """Return every import as (module, name in the module or "" for the module itself, name in this file, line)."""
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [(alias.name, "", alias.asname or alias.name, node.lineno) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = "." * node.level + (node.module or "")
                found += [(module, alias.name, alias.asname or alias.name, node.lineno) for alias in node.names]
        return tuple(found)

    def import_line(self, module: str) -> int:
        """Return the line that imports a module or a part of it, or 0."""
        for name, inner, _, line in self.imports:
            if f"{name}.".startswith(f"{module}.") or f"{name}.{inner}" == module:
                return line
        return 0

    def option_line(self, name: str, value: object, *, after: int = 0) -> int:
        """Return the first line with `name=value` at or below `after`, else the first in the file, else 0."""
        lines = [
            node.lineno
            for key, node in self.options
            if key == name and isinstance(node, ast.Constant) and node.value == value
        ]
        return next((line for line in lines if line >= after), lines[0] if lines else 0)

    @cached_property
    def places(self) -> tuple[DagPlace, ...]:
        """Return the places at which the file makes Dags: `DAG(…)`, `@dag` and `@dag(…)`."""
        return tuple(sorted(self._places(), key=lambda place: place.line))

    def _places(self) -> Iterator[DagPlace]:
        last_lines = {
            id(item.context_expr): node.end_lineno or node.lineno
            for node in self.nodes
            if isinstance(node, ast.With | ast.AsyncWith)
            for item in node.items
        }
        decorators = set()
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef):
                for decorator in node.decorator_list:
                    call = decorator if isinstance(decorator, ast.Call) else None
                    if last_name(call.func if call else decorator) == "dag":
                        decorators.add(id(decorator))
                        name = _dag_id(call) if call and _has_dag_id(call) else node.name
                        yield DagPlace(name, decorator.lineno, node.end_lineno or node.lineno, call)
        for call in self.calls:
            if last_name(call.func) in ("DAG", "dag") and id(call) not in decorators:
                yield DagPlace(_dag_id(call), call.lineno, last_lines.get(id(call), 0), call)

    def place(self, dag_id: str | None) -> DagPlace | None:
        """Return the place of a Dag. If no place names its id, return the only place, or a place with a computed id."""
        named = [place for place in self.places if place.dag_id == dag_id]
        computed = [place for place in self.places if place.dag_id is None]
        if named or computed:
            return (named or computed)[0]
        return self.places[0] if len(self.places) == 1 else None

    def dag_line(self, dag_id: str | None, option: str = "") -> int:
        """Return the line of a Dag or of one of its options, or 1 if the file does not show it."""
        place = self.place(dag_id)
        if place is None:
            return next((line for text, line in self.texts if text == dag_id), 1)
        keywords = place.call.keywords if place.call else []
        return next((keyword.value.lineno for keyword in keywords if keyword.arg == option), place.line)

    def task_line(self, task_id: str, dag_id: str | None) -> int:
        """Return the line of a task's operator or decorator, or the line of the Dag if the file does not show it."""
        # Airflow prefixes an id with the names of its groups, and appends __1 to an id that exists already.
        plain = re.sub(r"__\d+$", "", task_id.rpartition(".")[2])
        names = (task_id, plain)
        lines = [line for pattern, line in self.task_places if any(re.fullmatch(pattern, name) for name in names)]
        place = self.place(dag_id)
        inside = [line for line in lines if place and place.line <= line <= place.last_line]
        return next(iter(inside or lines), self.dag_line(dag_id))

    @cached_property
    def task_places(self) -> tuple[tuple[str, int], ...]:
        """Return a pattern for the id of every task, with its line. Literal ids come first."""
        exact, computed = [], []
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.decorator_list:
                exact.append((re.escape(node.name), node.decorator_list[0].lineno))
            elif isinstance(node, ast.Call):
                for value in (keyword.value for keyword in node.keywords if keyword.arg == "task_id"):
                    if name := text_of(value):
                        exact.append((re.escape(name), node.lineno))
                    elif isinstance(value, ast.JoinedStr):
                        parts = [re.escape(text_of(part)) or ".+" for part in value.values]
                        computed.append(("".join(parts), node.lineno))
        return (*exact, *computed)


def last_name(node: ast.expr) -> str:
    """Return the last part of a dotted name: `get` of `Variable.get`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def text_of(node: ast.expr | None) -> str:
    """Return the text of a literal, or "" for any other node."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _has_dag_id(call: ast.Call) -> bool:
    return bool(call.args) or any(keyword.arg == "dag_id" for keyword in call.keywords)


def _dag_id(call: ast.Call) -> str | None:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "dag_id"] or call.args[:1]
    return (text_of(given[0]) or None) if given else None


def _column(node: ast.AST) -> int:
    return getattr(node, "col_offset", 0)
