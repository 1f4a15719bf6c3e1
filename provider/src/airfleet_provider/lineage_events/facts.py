"""What an event says of datasets and columns. Events come from tasks, so nothing in them is believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Only these say what a task has done. A task that failed may have written nothing.
DONE = frozenset({"COMPLETE", "OTHER"})
# Of one event, so many datasets, columns of each, and relations of columns are kept.
MOST_DATASETS, MOST_COLUMNS, MOST_RELATIONS = 100, 500, 2000
LONGEST = 500

_DIRECT = "DIRECT"


@dataclass(frozen=True, slots=True)
class DatasetUse:
    """A dataset that a task read or wrote, with the names of its columns."""

    namespace: str
    name: str
    is_output: bool
    columns: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, bool]:
        return self.namespace, self.name, self.is_output


@dataclass(frozen=True, slots=True, order=True)
class ColumnUse:
    """A column of an output that was made from one of an input. `how` is the kind of the transformation."""

    namespace: str
    name: str
    field: str
    from_namespace: str
    from_name: str
    from_field: str
    how: str = ""


@dataclass(frozen=True, slots=True)
class EventFacts:
    """All that an event says; `kind` is its type, such as COMPLETE."""

    kind: str
    datasets: tuple[DatasetUse, ...] = ()
    columns: tuple[ColumnUse, ...] = ()

    @property
    def has_both(self) -> bool:
        """Whether the event has an input and an output."""
        return len({one.is_output for one in self.datasets}) == 2


def read(event: Mapping[str, Any]) -> EventFacts:
    """Return what an event says. Parts that are not as the specification has them are left out."""
    kind = _text(event.get("eventType")).upper()
    uses: dict[tuple[str, str, bool], DatasetUse] = {}
    columns: dict[tuple[str, ...], ColumnUse] = {}
    for side, is_output in (("inputs", False), ("outputs", True)):
        for dataset in _list(event.get(side))[:MOST_DATASETS]:
            namespace, name = _text(dataset.get("namespace")), _text(dataset.get("name"))
            if not name:
                continue
            facets = _object(dataset.get("facets"))
            use = DatasetUse(namespace, name, is_output, tuple(_read_schema(facets)))
            uses.setdefault(use.key, use)
            if is_output:
                for one in _read_columns(namespace, name, facets):
                    if len(columns) >= MOST_RELATIONS:
                        break
                    columns.setdefault(_key(one), one)
    return EventFacts(kind, tuple(uses.values()), tuple(columns.values()))


def _key(one: ColumnUse) -> tuple[str, ...]:
    return one.namespace, one.name, one.field, one.from_namespace, one.from_name, one.from_field


def _read_schema(facets: Mapping[str, Any]) -> Iterator[str]:
    seen: set[str] = set()
    for field in _list(_object(facets.get("schema")).get("fields"))[:MOST_COLUMNS]:
        name = _text(field.get("name"))
        if name and name not in seen:
            seen.add(name)
            yield name


def _read_columns(namespace: str, name: str, facets: Mapping[str, Any]) -> Iterator[ColumnUse]:
    fields = _object(_object(facets.get("columnLineage")).get("fields"))
    for field, made in list(fields.items())[:MOST_COLUMNS]:
        body = _object(made)
        for source in _list(body.get("inputFields")):
            from_name, from_field = _text(source.get("name")), _text(source.get("field"))
            if from_name and from_field:
                how = _tell_kind(source) or _text(body.get("transformationType"))[:40]
                yield ColumnUse(
                    namespace, name, _text(field), _text(source.get("namespace")), from_name, from_field, how
                )


def _tell_kind(source: Mapping[str, Any]) -> str:
    """Return the kind of a transformation: `DIRECT`, or with a subtype, such as `INDIRECT FILTER`."""
    kinds = {
        " ".join(filter(None, (_text(one.get("type"))[:20], _text(one.get("subtype"))[:20])))
        for one in _list(source.get("transformations"))
    }
    return min(kinds - {""}, key=lambda one: (not one.startswith(_DIRECT), one), default="")


def _text(value: object) -> str:
    """Return a text that PostgreSQL keeps: without NUL, without halves of characters, and not too long."""
    if not isinstance(value, str):
        return ""
    return value[:LONGEST].replace("\0", "").encode("utf-8", "replace").decode()


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
