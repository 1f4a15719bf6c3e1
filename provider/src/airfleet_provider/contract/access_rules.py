"""Who may do what with which Dag, by the rules of `access` in fleet.yaml (ADR 71). No I/O.

A role has patterns. A pattern is `tag:NAME`, which fits the Dags with this tag, or a pattern of Dag ids such as
`sales_*`. Nothing is granted to a role whose name is not among the rules: Airflow's own roles follow Airflow's rules.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

TAG = "tag:"


class DagRight(StrEnum):
    """What a rule lets a role do with a Dag."""

    READ = "read"  # see the Dag, its runs, logs and XComs
    EDIT = "edit"  # also trigger, pause and clear it, and delete its runs, but not the Dag itself


@dataclass(frozen=True, slots=True)
class DagGrant:
    """A pattern of a role that fits a Dag."""

    role: str
    right: DagRight
    pattern: str


@dataclass(frozen=True, slots=True)
class RoleRules:
    """The patterns of one role. Who may edit a Dag may read it."""

    read: tuple[str, ...] = ()
    edit: tuple[str, ...] = ()

    def find(self, role: str, dag: str, tags: Collection[str], right: DagRight) -> DagGrant | None:
        """Return the first pattern that grants a right on a Dag, or None."""
        for kind, patterns in ((DagRight.EDIT, self.edit), (DagRight.READ, self.read)):
            if kind is DagRight.READ and right is DagRight.EDIT:
                continue
            for pattern in patterns:
                if fits(pattern, dag, tags):
                    return DagGrant(role, kind, pattern)
        return None


def fits(pattern: str, dag: str, tags: Collection[str]) -> bool:
    """Return whether a pattern fits a Dag with these tags. Upper and lower case differ."""
    if pattern.startswith(TAG):
        return pattern.removeprefix(TAG) in tags
    return fnmatchcase(dag, pattern)


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The rules of all roles by name."""

    roles: Mapping[str, RoleRules] = field(default_factory=dict)

    def find(self, roles: Iterable[str], dag: str, tags: Collection[str], right: DagRight) -> DagGrant | None:
        """Return what grants a right on a Dag to somebody with these roles, or None."""
        for role in sorted(roles):
            rules = self.roles.get(role)
            if rules and (found := rules.find(role, dag, tags, right)):
                return found
        return None

    def to_text(self) -> str:
        """Return the rules as JSON. The same rules have the same text."""
        shown = {role: {"read": list(one.read), "edit": list(one.edit)} for role, one in self.roles.items()}
        return json.dumps(shown, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> AccessRules:
        """Return the rules of `to_text`.

        Raises:
            ValueError: It is no such text.
        """
        try:
            found = json.loads(text)
            return cls({role: RoleRules(tuple(one["read"]), tuple(one["edit"])) for role, one in found.items()})
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"these are no rules: {error}") from None
