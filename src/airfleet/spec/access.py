"""Who may do what, as `access` in fleet.yaml says it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from airfleet.spec.access_login import AccessLogin
from airfleet.spec.secret_ref import SecretRef
from airfleet_provider.contract.access_plan import DesiredAccess, DesiredUser
from airfleet_provider.contract.access_rules import AccessRules
from airfleet_provider.contract.task_lists import TaskLists


@dataclass(frozen=True, slots=True)
class AccessUser:
    """A user with the roles that fleet.yaml names directly. Without `password`, airfleet makes one."""

    email: str
    full_name: str = ""
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    password: SecretRef | None = None


@dataclass(frozen=True, slots=True)
class FleetAccess:
    """The users, the roles of each group, the rules of each role, and the lists of what tasks may use.

    `login` is where other users are, and `directory_groups` has the roles that each group there gives.
    """

    users: Mapping[str, AccessUser] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rules: AccessRules = field(default_factory=AccessRules)
    prune: bool = False
    tasks: TaskLists = field(default_factory=TaskLists)
    login: AccessLogin | None = None
    directory_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def resolve(self, find_password: Callable[[str, AccessUser], str]) -> DesiredAccess:
        """Return what Airflow's users and roles must be. Each user has the roles of the user's groups, too."""
        users = tuple(
            DesiredUser(
                name,
                one.email,
                frozenset({*one.roles, *(role for group in one.groups for role in self.groups[group])}),
                one.full_name,
                find_password(name, one),
            )
            for name, one in self.users.items()
        )
        source = self.login.source.identity if self.login else ""
        return DesiredAccess(users, self.rules, self.prune, self.tasks, source)
