"""Who may do what on a platform, read from its database; and a lock after failed logins, lifted (ADR 71, ADR 73)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from airfleet.errors import AirfleetError, UsageError
from airfleet.operations import metadata_database
from airfleet.spec.fleet import Fleet
from airfleet.workspace.project import find_project, read_fleet
from airfleet_provider.contract import access_store, token_store
from airfleet_provider.contract.access_plan import (
    AccessError,
    AccessPlan,
    DesiredAccess,
    PresentAccess,
    PresentUser,
    make_plan,
)
from airfleet_provider.contract.access_rules import DagRight
from airfleet_provider.contract.access_store import ListRights
from airfleet_provider.contract.access_token import KeptToken
from airfleet_provider.contract.task_lists import ListKind

# The permission of FAB that each right on all Dags, or on one, is.
ACTIONS = {DagRight.READ: "can_read", DagRight.EDIT: "can_edit"}


@dataclass(frozen=True, slots=True)
class DagAnswer:
    """Whether a user has a right on a Dag, and because of what."""

    right: DagRight
    is_granted: bool
    why: str


@dataclass(frozen=True, slots=True)
class TaskUse:
    """Whether tasks of a Dag may use what an entry of `access.tasks` names."""

    kind: ListKind
    name: str
    is_granted: bool
    why: str


@dataclass(frozen=True, slots=True)
class DagAnswers:
    """All that decides what a user may do with a Dag."""

    user: PresentUser
    dag: str
    tags: tuple[str, ...]
    answers: tuple[DagAnswer, ...]
    uses: tuple[TaskUse, ...] = ()


class PlatformAccess:
    """The users, roles and rules of a platform over one connection that commits each statement."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]], fleet: Fleet) -> None:
        self._connection = connection
        self.fleet = fleet

    def read(self) -> PresentAccess:
        """Return the users, roles and rules that are in force."""
        return access_store.read_present(self._query)

    def plan(self) -> AccessPlan:
        """Return what differs from fleet.yaml. Whether a password does is not known here.

        Raises:
            UsageError: fleet.yaml has no `access`.
            AirfleetError: The change must not be made.
        """
        desired = find_desired(self.fleet)
        try:
            return make_plan(desired, self.read())
        except AccessError as error:
            raise AirfleetError(f"the next apply would be refused: {error}", where="fleet.yaml: access") from None

    def explain(self, name: str, dag: str) -> DagAnswers:
        """Return what a user may do with a Dag, and why.

        Raises:
            UsageError: There is no such user, or no such Dag.
        """
        present = self.read()
        user = self._find(present, name)
        known = access_store.read_dag_tags(self._query, dag)
        if known is None:
            raise UsageError(f"there is no Dag {dag!r}", hint="airfleet airflow dags list")
        tags = tuple(sorted(known))
        single = access_store.read_dag_roles(self._query, dag)
        answers = tuple(decide(user, present, dag, tags, right, single) for right in DagRight)
        return DagAnswers(user, dag, tags, answers, tuple(find_uses(access_store.read_list_rights(self._query), dag)))

    def list_tokens(self) -> list[KeptToken]:
        """Return all tokens of service accounts, without what would let somebody use one."""
        return token_store.read_tokens(self._query, also_old=True)

    def unlock(self, name: str) -> int:
        """Forget the failed logins of a user, also those by the e-mail address, and return their number.

        Raises:
            UsageError: There is no such user.
        """
        user = self._find(self.read(), name)
        return access_store.forget_failures(self._query, (user.name, user.email.lower()))

    def _find(self, present: PresentAccess, name: str) -> PresentUser:
        found = present.users.get(name.lower())
        if found is None:
            raise UsageError(f"there is no user {name!r}", hint="airfleet access list")
        return found

    def _query(self, statement: LiteralString, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        return self._connection.execute(statement, values).fetchall()


def find_desired(fleet: Fleet) -> DesiredAccess:
    """Return what fleet.yaml wants of users and roles, without passwords.

    Raises:
        UsageError: fleet.yaml has no `access`.
    """
    if fleet.access is None:
        hint = "name users and roles under `access` there; `airfleet docs` shows how"
        raise UsageError("fleet.yaml has no `access`", hint=hint)
    return fleet.access.resolve(lambda *_: "")


def find_uses(known: ListRights, dag: str) -> Iterator[TaskUse]:
    """Yield for each entry of `access.tasks` whether tasks of a Dag may use what it names. No I/O."""
    facts = known.find_dag(dag)
    for kind in ListKind:
        for name, entry in known.lists.get(kind).items():
            fitting = next((one for one in entry.dags if facts.fits(one)), None)
            where = f"access.tasks.{kind}.{name}"
            if kind is ListKind.XCOM and facts.fits(name):
                yield TaskUse(kind, name, True, f"{where} fits the Dag itself, which uses its own XComs")
            elif fitting is not None:
                yield TaskUse(kind, name, True, f"{where} has {fitting!r}, which fits")
            else:
                yield TaskUse(kind, name, False, f"{where} does not name the Dag")


def decide(
    user: PresentUser,
    present: PresentAccess,
    dag: str,
    tags: Sequence[str],
    right: DagRight,
    single: Mapping[str, frozenset[str]],
) -> DagAnswer:
    """Return whether a user has a right on a Dag, as Airflow's auth manager decides it. No I/O.

    `single` are the roles by the action that `access_control` of the Dag file grants them.
    """
    if not user.is_active:
        return DagAnswer(right, False, "the user is deactivated")
    action = ACTIONS[right]
    for role in sorted(user.roles):
        if (action, "DAGs") in present.roles.get(role, frozenset()):
            return DagAnswer(right, True, f"the role {role} holds for all Dags")
    for role in sorted(user.roles & single.get(action, frozenset())):
        return DagAnswer(right, True, f"`access_control` of the Dag grants it to the role {role}")
    if found := present.rules.find(user.roles, dag, tags, right):
        rule = f"access.roles.{found.role}.dags.{found.right}"
        return DagAnswer(right, True, f"{rule} has {found.pattern!r}, which fits")
    ruled = sorted(user.roles & present.rules.roles.keys())
    if not user.roles:
        return DagAnswer(right, False, "the user has no role")
    shown = (
        f"no pattern of {', '.join(ruled)} fits" if ruled else f"no role of {', '.join(sorted(user.roles))} has a rule"
    )
    return DagAnswer(right, False, f"{shown}; the tags of the Dag are {', '.join(tags) or 'none'}")


@contextmanager
def open_access(project: Path, state: Path | None) -> Iterator[PlatformAccess]:
    """Open the users, roles and rules of the platform of a project.

    Raises:
        UsageError: There is no such project, or its fleet.yaml is wrong.
        AirfleetError: No platform runs there, or its database does not answer.
    """
    project = find_project(project)
    fleet = read_fleet(project)
    with metadata_database.connect(fleet, project, state, what="users") as connection:
        yield PlatformAccess(connection, fleet)
