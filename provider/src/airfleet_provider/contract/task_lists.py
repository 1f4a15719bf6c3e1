"""Which connections, variables and XComs the tasks of a Dag may use, by `access.tasks` in fleet.yaml (ADR 80). No I/O.

What no list names may be used by every task. As soon as an entry fits a name, only the Dags of the entries that fit may
use it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from airfleet_provider.contract import access_rules

FILE = "file:"
# A name with one of these may mean another name to a secrets back end that makes a URL or a path of it.
_AMBIGUOUS = re.compile(r"[%?#\\\x00-\x1f\x7f]|(?:^|/)\.{0,2}(?:/|$)|^\s|\s$")


class ListKind(StrEnum):
    """What a list is about."""

    CONNECTION = "connections"
    VARIABLE = "variables"
    XCOM = "xcoms"


@dataclass(frozen=True, slots=True)
class ListedDag:
    """What patterns are compared with. A Dag that the database does not know has neither tags nor a file."""

    id: str
    tags: frozenset[str] = frozenset()
    file: str = ""
    is_known: bool = True

    def fits(self, pattern: str) -> bool:
        """Return whether `tag:NAME`, `file:PATTERN`, or a pattern of Dag ids, fits the Dag."""
        if pattern.startswith(FILE):
            return bool(self.file) and fnmatchcase(self.file, pattern.removeprefix(FILE))
        return access_rules.fits(pattern, self.id, self.tags)


@dataclass(frozen=True, slots=True)
class ListEntry:
    """The Dags that may use what an entry names. With `triggers`, triggers of every Dag may use it too."""

    dags: tuple[str, ...] = ()
    triggers: bool = False


@dataclass(frozen=True, slots=True)
class ListDecision:
    """Whether something may be used, and which entry decides. `entry` is empty if no list names it."""

    is_granted: bool
    why: str
    entry: str = ""


@dataclass(frozen=True, slots=True)
class TaskLists:
    """The entries by name: a pattern of connections or of variables; for XComs, a pattern of the Dags that own them."""

    connections: Mapping[str, ListEntry] = field(default_factory=dict)
    variables: Mapping[str, ListEntry] = field(default_factory=dict)
    xcoms: Mapping[str, ListEntry] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.connections or self.variables or self.xcoms)

    def get(self, kind: ListKind) -> Mapping[str, ListEntry]:
        """Return the entries of one kind."""
        return {
            ListKind.CONNECTION: self.connections,
            ListKind.VARIABLE: self.variables,
            ListKind.XCOM: self.xcoms,
        }[kind]

    def find(self, kind: ListKind, name: str) -> Mapping[str, ListEntry]:
        """Return the entries that fit a connection or variable; cases of letters count as one, as in the environment.

        If none fits the name as it is, those count that fit what a secrets back end may make of it: Azure's reads `_`
        as `-`, and Parameter Store takes what follows a colon as the version of a value.

        Raises:
            ValueError: There are entries, and the name may mean another name to a secrets back end.
        """
        entries = self.get(kind)
        if not entries:
            return {}
        if _AMBIGUOUS.search(name):
            raise ValueError("a name with %, ?, #, \\, an empty part or dots as a part is refused while lists exist")
        folded = _fold(name)
        if found := {key: one for key, one in entries.items() if fnmatchcase(folded, _fold(key))}:
            return found
        readings = {_join(folded), _join(folded.partition(":")[0])}
        return {
            key: one for key, one in entries.items() if any(fnmatchcase(text, _join(_fold(key))) for text in readings)
        }

    def find_xcoms(self, owner: ListedDag) -> Mapping[str, ListEntry]:
        """Return the entries that fit the Dag that XComs belong to. All fit a Dag that the database does not know."""
        return {key: one for key, one in self.xcoms.items() if not owner.is_known or owner.fits(key)}

    def decide(self, kind: ListKind, name: str, dags: Collection[ListedDag]) -> ListDecision:
        """Return whether a connection or variable may be used on behalf of one of these Dags."""
        try:
            fitting = self.find(kind, name)
        except ValueError as error:
            return ListDecision(False, str(error), f"access.tasks.{kind}")
        return _decide(kind, fitting, dags)

    def decide_xcoms(self, owner: ListedDag, dag: ListedDag, *, writes: bool = False) -> ListDecision:
        """Return whether tasks of `dag` may use the XComs of `owner`. Only the owner writes those that are listed."""
        fitting = self.find_xcoms(owner)
        if not fitting:
            return ListDecision(True, "no list names them")
        if owner.id == dag.id:
            return ListDecision(True, "they are those of the Dag itself")
        if writes:
            entry = f"access.tasks.{ListKind.XCOM}.{next(iter(fitting))}"
            return ListDecision(False, f"only the Dag itself writes XComs that {entry} names", entry)
        return _decide(ListKind.XCOM, fitting, (dag,))

    def list_changes(self, before: TaskLists) -> Iterator[tuple[str, str]]:
        """Yield for each entry that differs from `before` its name and what changes."""
        for kind in ListKind:
            now, then = self.get(kind), before.get(kind)
            for key in sorted({*now, *then}):
                if now.get(key) != then.get(key):
                    was = f" (was {describe(then[key])})" if key in then else ""
                    yield f"{kind} {key}", f"{describe(now[key]) if key in now else 'no list'}{was}"

    def to_text(self) -> str:
        """Return the lists as JSON. The same lists have the same text."""
        shown = {
            kind.value: {key: {"dags": list(one.dags), "triggers": one.triggers} for key, one in self.get(kind).items()}
            for kind in ListKind
            if self.get(kind)
        }
        return json.dumps(shown, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> TaskLists:
        """Return the lists of `to_text`.

        Raises:
            ValueError: It is no such text.
        """
        try:
            found = json.loads(text)
            return cls(
                **{
                    kind.value: {
                        key: ListEntry(tuple(one["dags"]), bool(one["triggers"]))
                        for key, one in found.get(kind.value, {}).items()
                    }
                    for kind in ListKind
                }
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"these are no lists: {error}") from None


def describe(entry: ListEntry) -> str:
    """Return an entry as a part of a line."""
    return f"{', '.join(entry.dags) or 'no Dag'}{', and triggers' if entry.triggers else ''}"


def _decide(kind: ListKind, fitting: Mapping[str, ListEntry], dags: Collection[ListedDag]) -> ListDecision:
    if not fitting:
        return ListDecision(True, "no list names it")
    for key, one in fitting.items():
        for pattern in one.dags:
            if any(dag.fits(pattern) for dag in dags):
                return ListDecision(True, f"access.tasks.{kind}.{key} has {pattern!r}, which fits", key)
    names = ", ".join(f"access.tasks.{kind}.{key}" for key in fitting)
    return ListDecision(False, f"{names} {'does' if len(fitting) == 1 else 'do'} not name the Dag", names)


def _fold(name: str) -> str:
    # The environment's back end reads a name in upper case, also of letters that have no lower case of their own.
    return name.upper().casefold()


def _join(folded: str) -> str:
    return folded.replace("-", "_")
