"""The parts of Airflow's serialised Dags that checks read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True, slots=True)
class ParsedTask:
    """One task, with the fields that differ from Airflow's defaults. A mapped task has the fields of all its copies."""

    id: str
    fields: Mapping[str, Any]

    @property
    def is_empty(self) -> bool:
        """Return whether the task does nothing. The scheduler does not send such a task to a worker."""
        return bool(self.fields.get("_is_empty")) or self.fields.get("task_type") == "EmptyOperator"

    def texts(self) -> Iterator[str]:
        """Yield every text in which Airflow renders templates."""
        inputs = ("expand_input", "op_kwargs_expand_input")
        for name in (*self.fields.get("template_fields", ()), *inputs):
            yield from _texts(self.fields.get(name))

    def connections(self) -> Iterator[tuple[str, str]]:
        """Yield every field that names a connection, with the name of the connection."""
        for name, value in self.fields.items():
            if name.endswith("conn_id") and isinstance(value, str) and value:
                yield name, value


@dataclass(frozen=True)
class ParsedDag:
    """One Dag as Airflow serialises it: the result of SerializedDAG.to_dict."""

    id: str
    hash: str
    data: Mapping[str, Any]

    @property
    def properties(self) -> Mapping[str, Any]:
        """Return the fields of the Dag itself."""
        found: Mapping[str, Any] = self.data.get("dag", self.data)
        return found

    @cached_property
    def tasks(self) -> tuple[ParsedTask, ...]:
        """Return the tasks, in Airflow's order."""
        found = []
        for written in self.properties.get("tasks", ()):
            fields = plain(written)
            shared = fields.pop("partial_kwargs", {})
            found.append(ParsedTask(fields["task_id"], {**shared, **fields}))
        return tuple(found)


def plain(value: object) -> Any:  # noqa: ANN401  (JSON)
    """Return a value without the wrappers in which Airflow serialises its type."""
    if isinstance(value, dict):
        if "__var" in value:
            return plain(value["__var"])
        # Most values are neither a dict nor a list. A call for each of them would be most of the cost of a check.
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
