"""Airflow's serialised Dags, as far as checks read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True, slots=True)
class ParsedTask:
    """One task with the fields that differ from Airflow's defaults; a mapped one with those all its copies share."""

    id: str
    fields: Mapping[str, Any]

    @property
    def is_empty(self) -> bool:
        """Whether it does nothing, so that no worker ever sees it."""
        return bool(self.fields.get("_is_empty")) or self.fields.get("task_type") == "EmptyOperator"

    def texts(self) -> Iterator[str]:
        """Every text in which Airflow renders templates."""
        inputs = ("expand_input", "op_kwargs_expand_input")
        for name in (*self.fields.get("template_fields", ()), *inputs):
            yield from _texts(self.fields.get(name))

    def connections(self) -> Iterator[tuple[str, str]]:
        """Every field that names a connection, with the name."""
        for name, value in self.fields.items():
            if name.endswith("conn_id") and isinstance(value, str) and value:
                yield name, value


@dataclass(frozen=True)
class ParsedDag:
    """One Dag as Airflow serialises it: what SerializedDAG.to_dict gives."""

    id: str
    hash: str
    data: Mapping[str, Any]

    @property
    def properties(self) -> Mapping[str, Any]:
        """The Dag's own fields."""
        found: Mapping[str, Any] = self.data.get("dag", self.data)
        return found

    @cached_property
    def tasks(self) -> tuple[ParsedTask, ...]:
        """Its tasks, in Airflow's order."""
        found = []
        for written in self.properties.get("tasks", ()):
            fields = plain(written)
            shared = fields.pop("partial_kwargs", {})
            found.append(ParsedTask(fields["task_id"], {**shared, **fields}))
        return tuple(found)


def plain(value: object) -> Any:  # noqa: ANN401  (JSON)
    """A value without Airflow's wrapping of types."""
    if isinstance(value, dict):
        if "__var" in value:
            return plain(value["__var"])
        # Most values are neither, and a call for each of them would be most of what a check costs.
        return {key: plain(inner) if isinstance(inner, dict | list) else inner for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) if isinstance(inner, dict | list) else inner for inner in value]
    return value


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
