"""What has to change so that users and roles are as fleet.yaml says (ADR 71). No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airfleet_provider.contract.access_roles import (
    ADMIN_ROLE,
    AIRFLOW_ROLES,
    OF_ONE_DAG,
    PLATFORM_ADMIN,
    Permission,
    find_permissions,
)
from airfleet_provider.contract.access_rules import AccessRules, RoleRules
from airfleet_provider.contract.task_lists import TaskLists
from airfleet_provider.contract.text import one_line

LONGEST_LINE = 5000


class AccessError(Exception):
    """The change must not be made; the message says why."""


@dataclass(frozen=True, slots=True)
class DesiredUser:
    """A user of fleet.yaml with all roles, also those of the user's groups. `password` is in plain text, or unknown."""

    name: str
    email: str
    roles: frozenset[str]
    full_name: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class DesiredAccess:
    """All that fleet.yaml says about access. With `prune`, whatever it does not name loses its rights.

    `source` names the directory that has other users; they are neither named in fleet.yaml nor unknown.
    """

    users: tuple[DesiredUser, ...] = ()
    rules: AccessRules = field(default_factory=AccessRules)
    prune: bool = False
    lists: TaskLists = field(default_factory=TaskLists)
    source: str = ""

    def to_text(self) -> str:
        """Return it as JSON, with the passwords."""
        body = {
            "prune": self.prune,
            "source": self.source,
            "rules": json.loads(self.rules.to_text()),
            "lists": json.loads(self.lists.to_text()),
            "users": {
                one.name: {
                    "email": one.email,
                    "roles": sorted(one.roles),
                    "full_name": one.full_name,
                    "password": one.password,
                }
                for one in self.users
            },
        }
        return json.dumps(body, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> DesiredAccess:
        """Return what `to_text` wrote."""
        body: dict[str, Any] = json.loads(text)
        users = tuple(
            DesiredUser(name, one["email"], frozenset(one["roles"]), one["full_name"], one["password"])
            for name, one in body["users"].items()
        )
        rules = AccessRules.from_text(json.dumps(body["rules"]))
        # A file that an earlier version wrote has neither lists nor a source.
        lists = TaskLists.from_text(json.dumps(body.get("lists", {})))
        return cls(users, rules, bool(body["prune"]), lists, body.get("source", ""))


@dataclass(frozen=True, slots=True)
class PresentUser:
    """A user of Airflow. `name` is in lower case, as Airflow does not tell the cases apart.

    `source` names the directory that the user comes from, and is empty for a local user.
    """

    name: str
    email: str
    roles: frozenset[str]
    is_active: bool = True
    source: str = ""
    # A service account (ADR 87). fleet.yaml neither names nor ends it.
    is_service: bool = False


@dataclass(frozen=True, slots=True)
class PresentAccess:
    """The users by name, the permissions of each role but those on one Dag, and the rules and lists in force."""

    users: Mapping[str, PresentUser] = field(default_factory=dict)
    roles: Mapping[str, frozenset[Permission]] = field(default_factory=dict)
    rules: AccessRules = field(default_factory=AccessRules)
    lists: TaskLists = field(default_factory=TaskLists)


class AccessKind(StrEnum):
    """What kind of change it is. The words are those of the audit log."""

    ADD_ROLE = "add role"
    CHANGE_ROLE = "change role"
    REMOVE_ROLE = "remove role"
    ADD_USER = "add user"
    CHANGE_USER = "change user"
    END_USER = "deactivate user"
    CHANGE_LIST = "change list"


@dataclass(frozen=True, slots=True)
class AccessChange:
    """One change: of which user or role, and what of it changes."""

    kind: AccessKind
    name: str
    what: str

    def __str__(self) -> str:
        # Names and addresses of users whom fleet.yaml does not know may have anything.
        return one_line(f"{self.kind} {self.name}: {self.what}", LONGEST_LINE)


@dataclass(frozen=True, slots=True)
class AccessPlan:
    """The changes in the order in which they are made, and the users and roles that fleet.yaml does not know."""

    changes: tuple[AccessChange, ...] = ()
    unknown_users: tuple[str, ...] = ()
    unknown_roles: tuple[str, ...] = ()


def is_of_one_dag(resource: str) -> bool:
    """Return whether a resource is one Dag, or the runs of one Dag."""
    return resource.startswith(OF_ONE_DAG)


def make_plan(desired: DesiredAccess, present: PresentAccess) -> AccessPlan:
    """Return what has to change. Passwords are no part of it: nobody knows those of Airflow.

    Raises:
        AccessError: No active user with the role Admin would be left, or an e-mail address is that of somebody else.
    """
    named = {one.name for one in desired.users}
    strangers = sorted(
        name
        for name, one in present.users.items()
        if name not in named
        and name != PLATFORM_ADMIN
        and not one.is_service
        and not one.source
        and (one.is_active or one.roles)
    )
    former = sorted(
        name
        for name, one in present.users.items()
        if name not in named and one.source not in ("", desired.source) and (one.is_active or one.roles)
    )
    roles = sorted(set(present.roles) - set(AIRFLOW_ROLES) - set(desired.rules.roles))
    for name in sorted(named):
        if name in present.users and present.users[name].is_service:
            raise AccessError(f"{name} is the name of a service account; give the user another one")
    _check_addresses(desired, present)
    why = "comes from a directory that `access.login` does not name"
    changes = [
        *_plan_roles(desired, present),
        *_plan_users(desired, present),
        *(AccessChange(AccessKind.CHANGE_LIST, *one) for one in desired.lists.list_changes(present.lists)),
        *(AccessChange(AccessKind.END_USER, name, why) for name in former),
    ]
    if desired.prune:
        changes += [AccessChange(AccessKind.END_USER, name, "fleet.yaml does not name it") for name in strangers]
        changes += [AccessChange(AccessKind.REMOVE_ROLE, name, "fleet.yaml does not name it") for name in roles]
        _check_admins(desired, present, ended=frozenset(strangers))
        return AccessPlan(tuple(changes))
    _check_admins(desired, present, ended=frozenset())
    return AccessPlan(tuple(changes), tuple(strangers), tuple(roles))


def _plan_roles(desired: DesiredAccess, present: PresentAccess) -> Iterator[AccessChange]:
    for name, rules in sorted(desired.rules.roles.items()):
        wanted = find_permissions(edits=bool(rules.edit))
        have = present.roles.get(name)
        if have is None:
            yield AccessChange(AccessKind.ADD_ROLE, name, describe_rules(rules))
            continue
        said = []
        if (before := present.rules.roles.get(name, RoleRules())) != rules:
            said.append(f"{describe_rules(rules)} (was {describe_rules(before)})")
        if wanted - have:
            said.append(f"gets {_describe(wanted - have)}")
        if have - wanted:
            said.append(f"loses {_describe(have - wanted)}")
        if said:
            yield AccessChange(AccessKind.CHANGE_ROLE, name, "; ".join(said))


def _plan_users(desired: DesiredAccess, present: PresentAccess) -> Iterator[AccessChange]:
    for user in sorted(desired.users, key=lambda one: one.name):
        have = present.users.get(user.name)
        if have is None:
            yield AccessChange(AccessKind.ADD_USER, user.name, f"roles {_list(user.roles)}, {user.email}")
            continue
        said = []
        if have.source:
            said.append("is a local user now, and not one of the directory")
        if not have.is_active:
            said.append("is active again")
        if have.roles != user.roles:
            said.append(f"roles {_list(user.roles)} (were {_list(have.roles)})")
        if have.email != user.email:
            said.append(f"e-mail {user.email} (was {have.email})")
        if said:
            yield AccessChange(AccessKind.CHANGE_USER, user.name, "; ".join(said))


def _check_addresses(desired: DesiredAccess, present: PresentAccess) -> None:
    """Airflow lets users log in with their address, so no two users may have one. Users of a directory lose theirs."""
    named = {one.name for one in desired.users}
    taken = {one.email.lower(): name for name, one in present.users.items() if name not in named and not one.source}
    for user in desired.users:
        if other := taken.get(user.email.lower()):
            raise AccessError(
                f"{user.name} has the e-mail address {user.email}, which is that of the user {one_line(other)}; to use"
                " it again, give that user another address in the UI first"
            )


def find_displaced(desired: DesiredAccess, present: PresentAccess) -> frozenset[str]:
    """Return the users of a directory who have the e-mail address of a user of fleet.yaml.

    Some directories let people write their own address, and nobody may keep fleet.yaml from being applied by that.
    """
    wanted = {one.email.lower() for one in desired.users}
    named = {one.name for one in desired.users}
    return frozenset(
        name for name, one in present.users.items() if one.source and name not in named and one.email.lower() in wanted
    )


def _check_admins(desired: DesiredAccess, present: PresentAccess, *, ended: frozenset[str]) -> None:
    """Whoever changes the rights of others must stay able to log in, also while no directory answers."""
    named = {one.name: one.roles for one in desired.users}
    local = {name: one for name, one in present.users.items() if not one.is_service and not one.source}
    stay = {name: one.roles for name, one in local.items() if one.is_active and name not in ended}
    if not any(ADMIN_ROLE in roles for roles in {**stay, **named}.values()):
        raise AccessError("no active local user with the role Admin would be left")


def describe_rules(rules: RoleRules) -> str:
    """Return the patterns of a role as one line."""
    shown = [f"{word} {', '.join(found)}" for word, found in (("read", rules.read), ("edit", rules.edit)) if found]
    return "; ".join(shown) or "no Dag"


def _list(roles: frozenset[str]) -> str:
    return ", ".join(sorted(roles)) or "none"


def _describe(permissions: frozenset[Permission]) -> str:
    return ", ".join(f"{action} on {resource}" for action, resource in sorted(permissions))
