"""The statements that read users, roles and rules, for any driver: the caller gives what executes one (ADR 71)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

from airfleet_provider.contract.access_plan import PresentAccess, PresentUser, is_of_one_dag
from airfleet_provider.contract.access_roles import Permission
from airfleet_provider.contract.access_rules import AccessRules
from airfleet_provider.contract.statements import Statements
from airfleet_provider.contract.task_lists import ListedDag, TaskLists

SQL = Statements(__package__, "access_store")

# Runs a statement with its parameters and returns the rows by column name.
ReadRows = Callable[[LiteralString, Mapping[str, Any]], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class DagRights:
    """What decides about Dags: the rules, the tags of each Dag, and the roles of each user by the user's number."""

    rules: AccessRules = field(default_factory=AccessRules)
    tags: Mapping[str, frozenset[str]] = field(default_factory=dict)
    roles: Mapping[int, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListRights:
    """What decides about connections, variables and XComs of tasks: the lists, and the Dags by id."""

    lists: TaskLists = field(default_factory=TaskLists)
    dags: Mapping[str, ListedDag] = field(default_factory=dict)

    def find_dag(self, dag: str) -> ListedDag:
        """Return what is known of a Dag."""
        return self.dags.get(dag) or ListedDag(dag, is_known=False)

    def list_file(self, file: str) -> tuple[ListedDag, ...]:
        """Return the Dags of a file, or one without an id and tags if none of its Dags is known yet."""
        return tuple(one for one in self.dags.values() if one.file == file) or (ListedDag("", file=file),)


def read_rules(query: ReadRows) -> AccessRules:
    """Return the rules that are in force; there are none before the first `access` of fleet.yaml."""
    found = query(SQL["rules"], {})
    return AccessRules.from_text(found[0]["rules"]) if found else AccessRules()


def read_both(query: ReadRows) -> tuple[AccessRules, TaskLists]:
    """Return the rules for users and the lists for tasks that are in force."""
    found = query(SQL["rules"], {})
    if not found:
        return AccessRules(), TaskLists()
    return AccessRules.from_text(found[0]["rules"]), TaskLists.from_text(found[0]["lists"])


def read_passwords(query: ReadRows) -> dict[str, str]:
    """Return the hash of the last password that fleet.yaml gave to each user."""
    found = query(SQL["rules"], {})
    return dict(json.loads(found[0]["passwords"])) if found else {}


def read_present(query: ReadRows) -> PresentAccess:
    """Return the users and roles as they are."""
    roles: dict[str, set[Permission]] = {}
    for row in query(SQL["permissions"], {}):
        held = roles.setdefault(row["role"], set())
        if row["resource"] is not None and not is_of_one_dag(row["resource"]):
            held.add((row["action"], row["resource"]))
    users = {
        row["name"]: PresentUser(
            row["name"],
            row["email"],
            frozenset(row["roles"]),
            bool(row["is_active"]),
            row["source"],
            bool(row["is_service"]),
        )
        for row in query(SQL["users"], {})
    }
    return PresentAccess(users, {name: frozenset(held) for name, held in roles.items()}, *read_both(query))


def write(
    execute: Callable[[LiteralString, Mapping[str, Any]], Any],
    rules: AccessRules,
    lists: TaskLists,
    passwords: Mapping[str, str],
) -> None:
    """Put rules, lists and hashes of passwords in force; `execute` runs a statement in a transaction of the caller."""
    noted = json.dumps(dict(passwords), sort_keys=True)
    execute(SQL["write"], {"rules": rules.to_text(), "lists": lists.to_text(), "passwords": noted})


def read_dag_tags(query: ReadRows, dag: str) -> frozenset[str] | None:
    """Return the tags of a Dag, or None if there is no such Dag."""
    found = query(SQL["tags_of"], {"dag": dag})
    return frozenset(found[0]["tags"]) if found else None


def read_dag_roles(query: ReadRows, dag: str) -> dict[str, frozenset[str]]:
    """Return by action the roles that have a permission on this one Dag, which Airflow writes for `access_control`."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for row in query(SQL["roles_of"], {"resource": f"DAG:{dag}"}):
        found[row["action"]].add(row["role"])
    return {action: frozenset(roles) for action, roles in found.items()}


def forget_failures(query: ReadRows, names: Sequence[str]) -> int:
    """Forget the failed logins under these names, and return their number."""
    return len(query(SQL["forget_failures"], {"names": list(names)}))


def read_dag_rights(query: ReadRows) -> DagRights:
    """Return what decides about Dags; it is empty if there are no rules."""
    rules = read_rules(query)
    if not rules.roles:
        return DagRights()
    tags = {row["dag_id"]: frozenset(row["tags"]) for row in query(SQL["tags"], {})}
    roles: defaultdict[int, set[str]] = defaultdict(set)
    for row in query(SQL["roles"], {}):
        roles[row["user_id"]].add(row["role"])
    return DagRights(rules, tags, {user: frozenset(held) for user, held in roles.items()})


def read_list_rights(query: ReadRows) -> ListRights:
    """Return what decides about connections, variables and XComs of tasks; it is empty if there are no lists."""
    lists = read_both(query)[1]
    if not lists:
        return ListRights()
    dags = {
        row["dag_id"]: ListedDag(row["dag_id"], frozenset(row["tags"]), row["file"]) for row in query(SQL["dags"], {})
    }
    return ListRights(lists, dags)


def read_dag_of_task(query: ReadRows, instance: str) -> str | None:
    """Return the Dag of a task instance, also of an earlier attempt, or None if there is no such task instance."""
    found = query(SQL["dag_of_task"], {"id": instance})
    return str(found[0]["dag_id"]) if found else None
