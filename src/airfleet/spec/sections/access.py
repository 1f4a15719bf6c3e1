"""The `access` section of fleet.yaml: users, roles, and the Dags that each role may read and edit."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from airfleet.spec.access import AccessUser, FleetAccess
from airfleet.spec.sections import access_login
from airfleet.spec.sections.access_login import AccessLoginSection
from airfleet.spec.sections.references import BY_REFERENCE, Reference
from airfleet.spec.sections.section import Section, rule, shaped
from airfleet_provider.contract.access_roles import AIRFLOW_ROLES, PLATFORM_ADMIN
from airfleet_provider.contract.access_rules import TAG, AccessRules, RoleRules
from airfleet_provider.contract.task_lists import FILE, ListEntry, TaskLists


def _user(name: str) -> str:
    if name == PLATFORM_ADMIN:
        hint = "leave it out: airfleet makes this user, and `access` never takes its rights"
        raise rule(f"the user {name!r} is airfleet's own", hint)
    return name


def _own_role(name: str) -> str:
    if name.lower() in {one.lower() for one in AIRFLOW_ROLES}:
        raise rule(
            f"the role {name!r} is Airflow's own", "choose another name; users may have Airflow's roles as they are"
        )
    return name


def _given_role(name: str) -> str:
    if name == "Public":
        raise rule("the role 'Public' is for those without a login", "choose another role")
    return name


def _password(value: object) -> object:
    if isinstance(value, str):
        raise rule("fleet.yaml never holds a password", BY_REFERENCE)
    return value


def _pattern(text: str) -> str:
    if text.startswith(TAG) and not text.removeprefix(TAG).strip():
        raise rule(f"{text!r} names no tag", "write tag:NAME")
    if not text.startswith(TAG) and (":" in text or any(one.isspace() for one in text)):
        raise rule(f"{text!r} is no pattern of Dag ids", f"write {TAG}NAME, or a Dag id in which * stands for any text")
    return text


def _list_pattern(text: str) -> str:
    if not text.startswith(FILE):
        return _pattern(text)
    if not re.fullmatch(r"dags/[^\s\\]+", path := text.removeprefix(FILE)) or ".." in path.split("/"):
        hint = f"write {FILE}dags/FOLDER/*, as the file lies in the project; * stands for any text"
        raise rule(f"{text!r} is no pattern of Dag files", hint)
    return text


UserName = Annotated[
    str,
    *shaped("[a-z0-9][a-z0-9._-]{0,62}", "a user name: lower-case letters, digits and . _ -, 63 at most"),
    AfterValidator(_user),
]
RoleName = Annotated[
    str,
    *shaped("[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "a role: letters, digits and . _ -, 63 at most"),
    AfterValidator(_own_role),
]
GivenRole = Annotated[str, Field(min_length=1), AfterValidator(_given_role)]
Email = Annotated[str, *shaped(r"[^@\s]{1,64}@[^@\s]{1,190}", "an e-mail address")]
DagPattern = Annotated[str, Field(min_length=1, max_length=250), AfterValidator(_pattern)]
ListPattern = Annotated[str, Field(min_length=1, max_length=250), AfterValidator(_list_pattern)]
ListedName = Annotated[
    str,
    *shaped(r"[^\s%?\\]{1,250}", "a name, or a pattern in which * stands for any text; no spaces, %, ? or \\"),
]


class AccessUserSection(Section):
    """A user who logs in with name and password."""

    email: Email = Field(description="The e-mail address. No two users have the same.", examples=["ann@example.com"])
    name: Annotated[str, Field(max_length=200)] = Field(
        default="", description="First and last name, as the UI shows them.", examples=["Ann Example"]
    )
    roles: list[GivenRole] = Field(
        default=[],
        description="Airflow's Admin, Op, User and Viewer, which hold for all Dags, or names under `roles`.",
        examples=[["team-a"]],
    )
    groups: list[str] = Field(
        default=[], description="Names under `groups`, whose roles the user has too.", examples=[["analysts"]]
    )
    password: Annotated[Reference | None, BeforeValidator(_password)] = Field(
        default=None,
        description="A reference to the password.",
        examples=[{"env": "ANN_PASSWORD"}],
        json_schema_extra={"x-default": "airfleet makes one and keeps it in the folder of secrets"},
    )


class DagRulesSection(Section):
    """The Dags of a role: `tag:NAME` for those with a tag, or patterns of Dag ids such as sales_*."""

    read: list[DagPattern] = Field(
        default=[],
        description="Dags whose runs, logs, code and XComs the role sees.",
        examples=[["tag:team-a", "sales_*"]],
    )
    edit: list[DagPattern] = Field(
        default=[],
        description="Dags that the role also triggers, pauses and clears, and whose runs it deletes.",
        examples=[["tag:team-a"]],
    )


class AccessRoleSection(Section):
    """A role of your own: it reads and edits some Dags, and sees no connections, variables or assets."""

    dags: DagRulesSection = Field(default=DagRulesSection(), description="Which Dags the role may read and edit.")


class AccessGroupSection(Section):
    """Users with the same roles."""

    roles: Annotated[list[GivenRole], Field(min_length=1)] = Field(
        description="The roles of each user of the group.", examples=[["team-a"]]
    )
    directory: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(
        default=[],
        description="Groups of the directory (the name or the whole DN), or values of the groups claim, whose users "
        "are in this group.",
        examples=[["analysts", "cn=bi,ou=groups,dc=example,dc=com"]],
    )


class TaskListSection(Section):
    """The Dags whose tasks may use a connection or variable."""

    dags: list[ListPattern] = Field(
        default=[],
        description="Patterns of Dag ids, `tag:NAME`, or `file:PATTERN` for Dag files, as they lie in the project.",
        examples=[["file:dags/team_a/*", "tag:team-a"]],
    )
    triggers: bool = Field(
        default=False,
        description="Whether triggers may use it too, of whichever Dag: a triggerer serves the Dags of all teams.",
    )


class XComListSection(Section):
    """The Dags whose tasks may read the XComs of other Dags."""

    dags: list[ListPattern] = Field(
        default=[],
        description="The Dags that may read them, beside the Dag itself, in the same words.",
        examples=[["tag:team-a"]],
    )


class AccessTasksSection(Section):
    """What tasks may use. What is not named here may be used by the tasks of every Dag."""

    connections: dict[ListedName, TaskListSection] = Field(
        default={},
        description="Names or patterns of connections. Only the Dags of the entries that fit a connection may use it.",
        examples=[{"sales_db": {"dags": ["tag:team-a"]}}],
    )
    variables: dict[ListedName, TaskListSection] = Field(
        default={},
        description="The same for variables, which other Dags may not change or delete either.",
        examples=[{"sales_*": {"dags": ["tag:team-a"]}}],
    )
    xcoms: dict[ListPattern, XComListSection] = Field(
        default={},
        description="Patterns of Dags whose XComs only they themselves and the Dags of the entry may read.",
        examples=[{"tag:team-a": {"dags": ["sales_report"]}}],
    )


class AccessSection(Section):
    """Users, roles and groups. Without this section, airfleet changes no user but `admin`."""

    users: dict[UserName, AccessUserSection] = Field(
        default={}, description="The users by the name that they log in with.", examples=[{"ann": {}}]
    )
    roles: dict[RoleName, AccessRoleSection] = Field(
        default={}, description="Roles of your own by name.", examples=[{"team-a": {}}]
    )
    groups: dict[Annotated[str, Field(min_length=1)], AccessGroupSection] = Field(
        default={},
        description="Groups of users by name.",
        examples=[{"analysts": {"roles": ["team-a"], "directory": ["bi"]}}],
    )
    login: AccessLoginSection | None = Field(
        default=None,
        description="Where users are who are not in fleet.yaml.",
        examples=[{"oidc": {"issuer": "https://login.example.com", "client": "airflow"}}],
    )
    tasks: AccessTasksSection = Field(
        default=AccessTasksSection(), description="Connections, variables and XComs that only some Dags may use."
    )
    prune: bool = Field(
        default=False,
        description="Whether users and roles that are not here lose all rights. Otherwise they are reported and stay.",
    )


def convert(written: AccessSection) -> FleetAccess:
    """Return the section as a plain value."""
    users = {
        name: AccessUser(
            one.email,
            one.name,
            tuple(dict.fromkeys(one.roles)),
            tuple(dict.fromkeys(one.groups)),
            one.password.convert() if one.password else None,
        )
        for name, one in written.users.items()
    }
    rules = {
        name: RoleRules(tuple(dict.fromkeys(one.dags.read)), tuple(dict.fromkeys(one.dags.edit)))
        for name, one in written.roles.items()
    }
    groups = {name: tuple(dict.fromkeys(one.roles)) for name, one in written.groups.items()}
    given = _list_directory_groups(written)
    login = access_login.convert(written.login) if written.login else None
    return FleetAccess(users, groups, AccessRules(rules), written.prune, _convert_tasks(written.tasks), login, given)


def _list_directory_groups(written: AccessSection) -> dict[str, tuple[str, ...]]:
    """Return the roles that each group of the directory gives, from all groups of fleet.yaml that name it."""
    found: dict[str, tuple[str, ...]] = {}
    for one in written.groups.values():
        for name in one.directory:
            found[name] = tuple(dict.fromkeys((*found.get(name, ()), *one.roles)))
    return found


def _convert_tasks(written: AccessTasksSection) -> TaskLists:
    connections, variables = (
        {name: ListEntry(tuple(dict.fromkeys(one.dags)), one.triggers) for name, one in entries.items()}
        for entries in (written.connections, written.variables)
    )
    xcoms = {name: ListEntry(tuple(dict.fromkeys(one.dags))) for name, one in written.xcoms.items()}
    return TaskLists(connections, variables, xcoms)
